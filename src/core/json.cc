#include "core/json.h"

#include <simdjson.h>

namespace unicorn {
namespace {

// The library's message quotes the text it stumbled over, of any length and with any bytes; a message is short UTF-8.
std::string printable(std::string_view what) {
  constexpr std::size_t kLongest = 240;
  std::string text(what.substr(0, kLongest));
  const bool valid = simdjson::validate_utf8(text.data(), text.size());
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !valid)) c = '?';
  }
  return what.size() > kLongest ? text + "..." : text;
}

}  // namespace

Result<Json> parse_json(std::string_view text, std::string_view what) {
  constexpr int kMaxDepth = 200;
  bool too_deep = false;
  const auto guard = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxDepth) too_deep = true;
    return !too_deep;
  };
  try {
    Json json = Json::parse(text, guard);
    if (too_deep) return Error{ErrorCode::corrupt_file, std::string(what) + ": JSON nested deeper than 200 levels"};
    return json;
  } catch (const Json::exception& e) {
    return Error{ErrorCode::corrupt_file, std::string(what) + ": not valid JSON: " + printable(e.what())};
  }
}

std::string dump_json(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace unicorn
