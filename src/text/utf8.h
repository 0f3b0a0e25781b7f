// UTF-8, one code point at a time. Overlong forms, surrogates and values above U+10FFFF are not UTF-8 (RFC 3629).
#pragma once

#include <cstdint>
#include <string_view>

namespace unicorn {

struct CodePoint {
  char32_t value = 0;
  std::uint8_t n_bytes = 0;  // 0: the text does not start with a whole code point
  bool truncated = false;    // n_bytes == 0, but more bytes could complete it
};

// The first code point of `text`. Precondition: text is not empty.
inline CodePoint first_code_point(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {lead, 1, false};
  // The second byte's range is what rules out overlong forms, surrogates and the space above U+10FFFF.
  unsigned n_bytes = 0, low = 0x80, high = 0xBF;
  char32_t value = 0;
  if (lead >= 0xC2 && lead <= 0xDF) {
    n_bytes = 2;
    value = lead & 0x1F;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    n_bytes = 3;
    value = lead & 0x0F;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    n_bytes = 4;
    value = lead & 0x07;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {};
  }
  for (unsigned i = 1; i < n_bytes; ++i) {
    if (i == text.size()) return {0, 0, true};
    if (byte(i) < low || byte(i) > high) return {};
    value = (value << 6) | (byte(i) & 0x3F);
    low = 0x80;
    high = 0xBF;
  }
  return {value, static_cast<std::uint8_t>(n_bytes), false};
}

inline bool is_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    if (c.n_bytes == 0) return false;
    text.remove_prefix(c.n_bytes);
  }
  return true;
}

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace unicorn
