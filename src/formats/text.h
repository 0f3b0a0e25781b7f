// What the readers say about a file that is wrong, and checked sizes.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/result.h"

namespace unicorn {

// 'name' for a message: control characters and invalid UTF-8 replaced by '?', long names cut in the middle, so that a
// hostile file can neither steer a terminal nor flood a log.
std::string printable(std::string_view name);

// "file: text"
template <class... Args>
Error file_error(ErrorCode code, std::string_view file, fmt::format_string<Args...> text, Args&&... args) {
  return {code, fmt::format("{}: {}", file, fmt::format(text, std::forward<Args>(args)...))};
}

bool is_valid_utf8(std::string_view text);

inline std::optional<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}
inline std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

}  // namespace unicorn
