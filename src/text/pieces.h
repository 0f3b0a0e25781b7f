// How SentencePiece-style vocabularies write what has no plain form: spaces and single bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace unicorn {

inline constexpr std::string_view kSpaceMarker = "\xE2\x96\x81";  // U+2581, a space

// "<0x41>" → 0x41.
inline std::optional<std::uint8_t> byte_of_piece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return std::nullopt;
  unsigned value = 0;
  for (const char c : piece.substr(3, 2)) {
    if (c >= '0' && c <= '9') {
      value = value * 16 + static_cast<unsigned>(c - '0');
    } else if ((c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f')) {
      value = value * 16 + static_cast<unsigned>((c | 0x20) - 'a') + 10;
    } else {
      return std::nullopt;
    }
  }
  return static_cast<std::uint8_t>(value);
}

}  // namespace unicorn
