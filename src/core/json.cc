#include "core/json.h"

namespace unicorn {

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
    return Error{ErrorCode::corrupt_file, std::string(what) + ": not valid JSON: " + e.what()};
  }
}

std::string dump_json(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace unicorn
