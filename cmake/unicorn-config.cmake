# find_package(unicorn) from an installed tree: target unicorn::engine, with the libraries it links.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(fmt)
find_dependency(nlohmann_json)
find_dependency(simdjson)
include("${CMAKE_CURRENT_LIST_DIR}/unicorn-targets.cmake")
