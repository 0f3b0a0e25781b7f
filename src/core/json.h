// JSON as the field's library gives it (nlohmann, key order kept), with errors as values instead of exceptions.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/result.h"

namespace unicorn {

using Json = nlohmann::ordered_json;

// `what` names the source in the error ("config.json"). Errors: corrupt_file, with the byte offset. Nesting deeper
// than 200 levels is refused.
Result<Json> parse_json(std::string_view text, std::string_view what);

// Text with invalid UTF-8 replaced, so that printing what a model said cannot fail.
std::string dump_json(const Json& json, int indent = -1);

}  // namespace unicorn
