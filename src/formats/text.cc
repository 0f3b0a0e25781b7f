#include "formats/text.h"

#include <simdjson.h>

namespace unicorn {

bool is_valid_utf8(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

std::string printable(std::string_view name) {
  constexpr std::size_t kLongest = 96, kKept = 40;
  std::string text(name.size() <= kLongest
                       ? std::string(name)
                       : std::string(name.substr(0, kKept)) + "..." + std::string(name.substr(name.size() - kKept)));
  const bool valid = is_valid_utf8(text);
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !valid)) c = '?';
  }
  return "'" + text + "'";
}

}  // namespace unicorn
