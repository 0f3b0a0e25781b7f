# Build type, ccache, and the flags every file of ours is compiled with.
# Flags that depend on the instruction set are per file, see unicorn_isa_sources: a global -march would
# let one build machine's CPU decide who can run the binary.
include(GNUInstallDirs)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)  # clang-tidy and editors read it

# 1 keeps function names and line numbers in backtraces; full information (2) doubles the compile time under
# sanitizers (gemma3n.cc: 26 s against 13 s), so it is there for whoever opens a debugger.
set(UNICORN_DEBUG_INFO 1 CACHE STRING "Level of debug information, as -g takes it")
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -g${UNICORN_DEBUG_INFO} -DNDEBUG")
# -O1: model tests under sanitizers take minutes at -O0.
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g${UNICORN_DEBUG_INFO} -fno-omit-frame-pointer")

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()

set(UNICORN_COMPILE_OPTIONS
  # The numeric contract "same row, same bits": the compiler may not fuse a*b+c where it likes, since
  # the choice would change with inlining and tile shape. Kernels that want an FMA write one.
  -ffp-contract=off
  -fno-math-errno
  "-fmacro-prefix-map=${CMAKE_SOURCE_DIR}/="  # UNICORN_CHECK prints src/…, not the builder's home
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-qual -Wformat=2
  -Wundef -Wvla -Wextra-semi)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND UNICORN_COMPILE_OPTIONS -Wduplicated-cond -Wlogical-op
    # g++ 12 reports these falsely from inside libstdc++ once std::string and std::vector are inlined
    # (GCC bugs 105651, 105329, 107852).
    -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread -Wno-array-bounds -Wno-maybe-uninitialized)
endif()
if(UNICORN_WERROR)
  list(APPEND UNICORN_COMPILE_OPTIONS -Werror)
endif()

set(UNICORN_COMPILE_DEFINITIONS)
set(UNICORN_LINK_OPTIONS)
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  list(APPEND UNICORN_COMPILE_DEFINITIONS _GLIBCXX_ASSERTIONS)
endif()
if(UNICORN_SANITIZE)
  list(APPEND UNICORN_COMPILE_OPTIONS "-fsanitize=${UNICORN_SANITIZE}" -fno-sanitize-recover=all)
  list(APPEND UNICORN_LINK_OPTIONS "-fsanitize=${UNICORN_SANITIZE}")
endif()
if(UNICORN_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "UNICORN_FUZZ needs clang-19 with libFuzzer (clang-19, libclang-rt-19-dev): use --preset fuzz")
  endif()
  list(APPEND UNICORN_COMPILE_OPTIONS -fsanitize=fuzzer-no-link)
endif()
