// Our own mistakes: UNICORN_CHECK aborts with file, line and the condition. Never for input, files or devices.
#pragma once

#include <string_view>

namespace unicorn {

[[noreturn]] void check_failed(const char* file, int line, const char* condition, std::string_view detail = {});

}  // namespace unicorn

#define UNICORN_CHECK(cond)                               \
  do {                                                    \
    if (!(cond)) [[unlikely]]                             \
      ::unicorn::check_failed(__FILE__, __LINE__, #cond); \
  } while (false)

#define UNICORN_CHECK_MSG(cond, detail)                             \
  do {                                                              \
    if (!(cond)) [[unlikely]]                                       \
      ::unicorn::check_failed(__FILE__, __LINE__, #cond, (detail)); \
  } while (false)

#ifdef NDEBUG
#define UNICORN_DCHECK(cond) static_cast<void>(0)
#else
#define UNICORN_DCHECK(cond) UNICORN_CHECK(cond)
#endif
