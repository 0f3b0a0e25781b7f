# The words our CMakeLists.txt files are written in.
#   unicorn_library(quant SOURCES q8_0.cc DEPS core LIBS fmt::fmt)      one folder of src/, one library; INSTALL: `engine`
#                                                                       needs it, so it is installed (unicorn::quant)
#   unicorn_program(unicorn SOURCES main.cc DEPS tools engine)          an executable at the build root
#   unicorn_test(quant SOURCES q8_0_test.cc DEPS quant LABELS unit)     a gtest executable and its ctest entry
#   unicorn_fuzzer(gguf SOURCES gguf_fuzz.cc DEPS formats)              libFuzzer, or a replay of its corpus
#   unicorn_isa_sources(backends/cpu avx2 isa/avx2.cc)                  files that need instruction-set flags
#   unicorn_unpack(file.xz OUTPUT_DIR dir TARGET name)                  unpacked at build time when it changed
# DEPS are folders of src/ ("core", "backends/cpu"); LIBS are targets of other projects.

function(unicorn_target_name out folder)
  string(REPLACE "/" "_" name "${folder}")
  set(${out} "unicorn_${name}" PARENT_SCOPE)
endfunction()

# Links DEPS and LIBS, and gives what all our targets share.
function(_unicorn_setup target scope)
  cmake_parse_arguments(A "" "" "DEPS;LIBS" ${ARGN})
  foreach(dep IN LISTS A_DEPS)
    unicorn_target_name(dep_target ${dep})
    target_link_libraries(${target} ${scope} ${dep_target})
  endforeach()
  target_link_libraries(${target} ${scope} ${A_LIBS})
  target_compile_features(${target} ${scope} cxx_std_20)
  target_include_directories(${target} ${scope}
    $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/src> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/unicorn>)
  if(NOT scope STREQUAL "INTERFACE")
    target_compile_options(${target} PRIVATE ${UNICORN_COMPILE_OPTIONS})
    target_compile_definitions(${target} PRIVATE ${UNICORN_COMPILE_DEFINITIONS})
    target_link_options(${target} PRIVATE ${UNICORN_LINK_OPTIONS})
  endif()
endfunction()

function(unicorn_library folder)
  cmake_parse_arguments(A "INSTALL" "" "SOURCES;DEPS;LIBS" ${ARGN})
  unicorn_target_name(target ${folder})
  if(A_SOURCES)
    add_library(${target} STATIC ${A_SOURCES})
    _unicorn_setup(${target} PUBLIC DEPS ${A_DEPS} LIBS ${A_LIBS})
  else()
    add_library(${target} INTERFACE)  # headers only
    _unicorn_setup(${target} INTERFACE DEPS ${A_DEPS} LIBS ${A_LIBS})
  endif()
  if(A_INSTALL)
    string(REPLACE "/" "_" export_name "${folder}")
    set_target_properties(${target} PROPERTIES EXPORT_NAME ${export_name})
    install(TARGETS ${target} EXPORT unicorn ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}/unicorn")
  endif()
endfunction()

function(unicorn_program name)
  cmake_parse_arguments(A "INSTALL" "" "SOURCES;DEPS;LIBS" ${ARGN})
  if(NOT A_SOURCES)
    return()
  endif()
  add_executable(${name} ${A_SOURCES})
  _unicorn_setup(${name} PRIVATE DEPS ${A_DEPS} LIBS ${A_LIBS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
  if(A_INSTALL)
    install(TARGETS ${name} RUNTIME)
  endif()
endfunction()

# Adds a target to a group that is built as one: tests_unit, tests_threads, …, fuzzers.
function(_unicorn_group group target)
  if(NOT TARGET ${group})
    add_custom_target(${group})
  endif()
  add_dependencies(${group} ${target})
endfunction()

# One ctest entry per executable: under sanitizers a process per test case would cost more than the cases.
#   LABELS   unit (seconds, the default; under AddressSanitizer too), device (needs hardware), model (runs a
#            model), threads (under ThreadSanitizer too), long (make test-long), real (make test-real)
#   TIMEOUT  seconds; sanitizer builds get five times that
#   DATA     the test reads tests/data or the demo model: they are unpacked before it runs
function(unicorn_test name)
  cmake_parse_arguments(A "DATA" "TIMEOUT" "SOURCES;DEPS;LIBS;LABELS" ${ARGN})
  if(NOT UNICORN_TESTS OR NOT A_SOURCES)
    return()
  endif()
  string(REPLACE "/" "_" test "${name}_test")
  add_executable(${test} ${A_SOURCES})
  _unicorn_setup(${test} PRIVATE DEPS ${A_DEPS} LIBS ${A_LIBS} GTest::gtest_main GTest::gmock)
  target_include_directories(${test} PRIVATE "${CMAKE_SOURCE_DIR}")  # "tests/support/…"
  target_compile_definitions(${test} PRIVATE
    UNICORN_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
    UNICORN_TEST_DATA_DIR="${UNICORN_TEST_DATA_DIR}"
    UNICORN_DEMO_MODEL_DIR="${UNICORN_DEMO_MODEL_DIR}")
  # GoogleTest's templates are slow to optimise: gguf_test.cc compiles in 4.7 s at -O1, 8.3 s at -O3 (user time).
  target_compile_options(${test} PRIVATE $<$<CONFIG:Release>:-O1>)
  if(A_DATA)
    add_dependencies(${test} unicorn_data)
  endif()
  add_test(NAME ${test} COMMAND ${test})
  if(NOT A_LABELS)
    set(A_LABELS unit)
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 120)
  endif()
  if(UNICORN_SANITIZE)
    math(EXPR A_TIMEOUT "${A_TIMEOUT} * 5")
  endif()
  foreach(label IN LISTS A_LABELS)
    _unicorn_group(tests_${label} ${test})
  endforeach()
  # The XML is what scripts/run_tests counts cases and prints skip reasons from.
  set_tests_properties(${test} PROPERTIES LABELS "${A_LABELS}" TIMEOUT ${A_TIMEOUT}
    ENVIRONMENT "GTEST_OUTPUT=xml:${CMAKE_BINARY_DIR}/test-results/${test}.xml")
endfunction()

# A check written as a Python script, path from the top of the tree.
function(unicorn_script_test name script)
  add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} "${CMAKE_SOURCE_DIR}/${script}" ${ARGN})
  set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 60)
endfunction()

# A fuzzer is a .cc file with LLVMFuzzerTestOneInput. In every build a unit test replays fuzz/corpus/<name>/, so the
# target keeps compiling and every input that once broke it stays a test.
function(unicorn_fuzzer name)
  cmake_parse_arguments(A "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  if(NOT UNICORN_TESTS)
    return()
  endif()
  set(corpus "${CMAKE_SOURCE_DIR}/fuzz/corpus/${name}")
  add_executable(fuzz_${name}_replay ${A_SOURCES} "${CMAKE_SOURCE_DIR}/fuzz/replay_main.cc")
  _unicorn_setup(fuzz_${name}_replay PRIVATE DEPS ${A_DEPS} LIBS ${A_LIBS})
  _unicorn_group(tests_unit fuzz_${name}_replay)
  add_test(NAME fuzz_${name}_replay COMMAND fuzz_${name}_replay "${corpus}")
  set_tests_properties(fuzz_${name}_replay PROPERTIES LABELS unit TIMEOUT 300)
  if(UNICORN_FUZZ)
    add_executable(fuzz_${name} ${A_SOURCES})
    _unicorn_setup(fuzz_${name} PRIVATE DEPS ${A_DEPS} LIBS ${A_LIBS})
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    set_target_properties(fuzz_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/fuzz")
    _unicorn_group(fuzzers fuzz_${name})
  endif()
endfunction()

# Adds files compiled with one instruction set's flags, one call per instruction set. They may hold intrinsics and our per-ISA namespace
# only: a std:: inline function compiled here can be the copy the linker keeps for every caller.
function(unicorn_isa_sources folder isa)
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    return()
  endif()
  set(avx2 -mavx2 -mfma -mf16c)
  set(avx_vnni ${avx2} -mavxvnni)
  set(avx512 ${avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq)
  set(avx512_vnni ${avx512} -mavx512vnni)
  set(avx512_bf16 ${avx512_vnni} -mavx512bf16)
  if(NOT DEFINED ${isa})
    message(FATAL_ERROR "unicorn_isa_sources: unknown instruction set '${isa}' (avx2, avx_vnni, avx512, avx512_vnni, avx512_bf16)")
  endif()
  unicorn_target_name(target ${folder})
  target_sources(${target} PRIVATE ${ARGN})
  set(options ${${isa}})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND options -Wno-uninitialized)  # GCC 12's own AVX-512 headers use _mm512_undefined_epi32
  endif()
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS "${options}")
  # Only in Release: what -O1 leaves out of line is not what users run.
  if(UNICORN_TESTS AND CMAKE_BUILD_TYPE STREQUAL "Release")
    add_test(NAME isa_symbols_${target}_${isa} COMMAND_EXPAND_LISTS
      COMMAND ${Python3_EXECUTABLE} "${CMAKE_SOURCE_DIR}/scripts/check_isa_symbols.py" --nm "${CMAKE_NM}" --isa ${isa}
        --sources ${ARGN} --objects $<TARGET_OBJECTS:${target}>)
    set_tests_properties(isa_symbols_${target}_${isa} PROPERTIES LABELS unit TIMEOUT 60)
  endif()
endfunction()

# Unpacks one .xz file into OUTPUT_DIR at build time (when it changed) and makes TARGET depend on it.
# A .tar.xz is unpacked as a tree.
function(unicorn_unpack file)
  cmake_parse_arguments(A "" "OUTPUT_DIR;TARGET" "" ${ARGN})
  get_filename_component(source "${file}" ABSOLUTE)
  get_filename_component(packed "${file}" NAME)
  string(REGEX REPLACE "\\.xz$" "" plain "${packed}")
  if(plain MATCHES "\\.tar$")
    set(stamp "${A_OUTPUT_DIR}/.${plain}.unpacked")
    add_custom_command(OUTPUT "${stamp}"
      COMMAND ${CMAKE_COMMAND} -E make_directory "${A_OUTPUT_DIR}"
      COMMAND ${CMAKE_COMMAND} -E chdir "${A_OUTPUT_DIR}" ${CMAKE_COMMAND} -E tar xJf "${source}"
      COMMAND ${CMAKE_COMMAND} -E touch "${stamp}"
      DEPENDS "${source}" COMMENT "Unpacking ${packed}" VERBATIM)
  else()
    set(stamp "${A_OUTPUT_DIR}/${plain}")
    add_custom_command(OUTPUT "${stamp}"
      COMMAND ${CMAKE_COMMAND} -E make_directory "${A_OUTPUT_DIR}"
      COMMAND "${XZ_PROGRAM}" -dc "${source}" > "${stamp}.part"  # never a half file under the final name
      COMMAND ${CMAKE_COMMAND} -E rename "${stamp}.part" "${stamp}"
      DEPENDS "${source}" COMMENT "Unpacking ${packed}" VERBATIM)
  endif()
  file(RELATIVE_PATH unit "${CMAKE_BINARY_DIR}" "${stamp}")  # files of one name lie in many folders
  string(MAKE_C_IDENTIFIER "unpack_${A_TARGET}_${unit}" unit)
  add_custom_target(${unit} DEPENDS "${stamp}")
  if(NOT TARGET ${A_TARGET})
    add_custom_target(${A_TARGET} ALL)
  endif()
  add_dependencies(${A_TARGET} ${unit})
endfunction()

# Where data/ and tests/data/ are unpacked to; beside the binary, so that it finds the demo model.
set(UNICORN_DEMO_MODEL_DIR "${CMAKE_BINARY_DIR}/share/unicorn/models/gemma3n-demo")
set(UNICORN_TEST_DATA_DIR "${CMAKE_BINARY_DIR}/test-data")
