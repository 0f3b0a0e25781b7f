// Any bytes as a tokenizer.json, and, when they are one, a few texts through it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/check.h"
#include "text/chat_template.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace unicorn;
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  auto vocab = vocab_from_tokenizer_json(json, "fuzz.json");
  if (!vocab.ok()) {
    UNICORN_CHECK(vocab.error().message.starts_with("fuzz.json: "));
    return 0;
  }
  const auto tokenizer = Tokenizer::create(std::move(*vocab), "fuzz.json");
  if (!tokenizer.ok()) {
    UNICORN_CHECK(tokenizer.error().message.starts_with("fuzz.json: "));
    return 0;
  }
  for (const std::string_view text : {std::string_view("a river  runs\n<x>\xE2\x96\x81\xE2\x96\x81 \xFF"), json}) {
    for (const bool parse_special : {false, true}) {
      const auto ids = tokenizer->encode(text, {.add_bos = true, .parse_special = parse_special});
      Detokenizer stream(*tokenizer);
      for (const TokenId id : ids) {
        UNICORN_CHECK(id >= 0 && static_cast<std::size_t>(id) < tokenizer->size());
        UNICORN_CHECK(is_utf8(stream.push(id)));
      }
      UNICORN_CHECK(is_utf8(tokenizer->decode(ids)));
    }
  }
  if (const auto format = ChatFormat::for_tokenizer(*tokenizer); format.ok()) {
    UNICORN_CHECK(format->encode(*tokenizer, {{"system", "s"}, {"user", "<end_of_turn>"}}).ok());
  }
  return 0;
}
