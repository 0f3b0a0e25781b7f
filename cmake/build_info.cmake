# Run at every build (cmake -P): writes OUTPUT, a header with the version and commit, when they changed.
# Bench rows and `unicorn --version` name the commit; a tree without git says so instead of failing.
execute_process(COMMAND git -C "${SOURCE_DIR}" describe --always --dirty --abbrev=10
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed OR NOT commit)
  set(commit "unknown")
endif()
set(text "#pragma once\n\n#define UNICORN_VERSION \"${VERSION}\"\n#define UNICORN_COMMIT \"${commit}\"\n")
if(EXISTS "${OUTPUT}")
  file(READ "${OUTPUT}" old)
endif()
if(NOT "${old}" STREQUAL "${text}")
  file(WRITE "${OUTPUT}" "${text}")
endif()
