#include "text/quote.h"

#include <fmt/format.h>

#include "text/utf8.h"

namespace unicorn {

std::string quote(std::string_view text) {
  constexpr std::size_t kMaxBytes = 40;
  std::string out = "'";
  std::size_t at = 0;
  while (at < text.size()) {
    const CodePoint c = first_code_point(text.substr(at));
    const std::size_t n_bytes = c.n_bytes == 0 ? 1 : c.n_bytes;
    if (at + n_bytes > kMaxBytes) {
      out += "…";
      break;
    }
    if (c.n_bytes == 0 || c.value < 0x20 || c.value == 0x7F) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at]));
    } else {
      out += text.substr(at, n_bytes);
    }
    at += n_bytes;
  }
  out += '\'';
  return out;
}

}  // namespace unicorn
