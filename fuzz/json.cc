// Any text as JSON: a short, printable refusal, or a value that is written and read back unchanged, and a model config
// made of it.
#include "core/json.h"

#include <simdjson.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/check.h"
#include "model/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace unicorn;
  const auto json = parse_json({reinterpret_cast<const char*>(data), size}, "fuzz.json");
  if (!json.ok()) {
    const std::string& message = json.error().message;
    UNICORN_CHECK(message.size() < 1000 && simdjson::validate_utf8(message.data(), message.size()));
    return 0;
  }
  const std::string text = dump_json(*json);
  const auto again = parse_json(text, "fuzz.json");
  UNICORN_CHECK_MSG(again.ok() && dump_json(*again) == text, text);
  UNICORN_CHECK(parse_json(dump_json(*json, 2), "fuzz.json").ok());
  static_cast<void>(config_from_hf(*json, "fuzz.json"));
  return 0;
}
