# Run at every build: writes OUTPUT only when the commit has changed, so that nothing is compiled in vain.
execute_process(COMMAND git -C "${SOURCE}" describe --always --dirty --exclude=*
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed OR commit STREQUAL "")
  set(commit unknown)
endif()
file(CONFIGURE OUTPUT "${OUTPUT}" CONTENT "#define UNICORN_COMMIT \"@commit@\"\n" @ONLY)
