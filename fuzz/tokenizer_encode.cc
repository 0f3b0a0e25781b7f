// A small vocabulary made from the input's first bytes, as a GGUF or a tokenizer.json would give it, then the rest of
// the input as text. Checks what must hold for every vocabulary and text.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "core/check.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace {

using namespace unicorn;

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  std::uint8_t byte() { return size_ == 0 ? std::uint8_t{0} : (--size_, *data_++); }
  std::string bytes(std::size_t n) {
    std::string text;
    while (text.size() < n && size_ > 0) text += static_cast<char>(byte());
    return text;
  }
  std::string rest() { return bytes(size_); }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

Vocab vocab_of(Input& input) {
  Vocab vocab;
  const unsigned flags = input.byte();
  if (flags & 1) {
    for (int b = 0; b < 256; ++b) {
      char name[8];
      std::snprintf(name, sizeof name, "<0x%02X>", b);
      vocab.pieces.push_back(name);
      vocab.types.push_back(TokenType::byte);
    }
  }
  for (unsigned n = input.byte() % 48; n > 0; --n) {
    const unsigned kind = input.byte();
    std::string piece = input.bytes(kind % 8);
    if (kind & 8) piece.insert(0, "\xE2\x96\x81");
    vocab.pieces.push_back(piece);
    vocab.types.push_back(static_cast<TokenType>((kind >> 4) % 6));
  }
  const auto any_id = [&] { return static_cast<TokenId>(input.byte()) + (flags & 1 ? 240 : -1); };
  if (flags & 2) {
    for (std::size_t i = 0; i < vocab.pieces.size(); ++i) {
      float score = 0;
      const std::string bits = input.bytes(4);
      std::memcpy(&score, bits.data(), bits.size());
      vocab.scores.push_back(score);
    }
  }
  if (flags & 4) {
    for (unsigned n = input.byte() % 48; n > 0; --n) {
      const TokenId left = any_id();
      vocab.merges.emplace_back(left, any_id());
    }
  }
  if (flags & 8) {
    for (unsigned n = input.byte() % 16; n > 0; --n) {
      const unsigned kind = input.byte();
      const TokenId id = any_id();
      const auto at = static_cast<std::size_t>(id);
      const bool known = id >= 0 && at < vocab.pieces.size() && (kind & 1);
      vocab.added.push_back({id, known ? vocab.pieces[at] : input.bytes(kind >> 4), (kind & 2) != 0, (kind & 4) != 0});
    }
  }
  vocab.ignore_merges = (flags & 16) != 0;
  vocab.unk = flags & 32 ? any_id() : -1;
  vocab.bos = flags & 64 ? any_id() : -1;
  return vocab;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  Vocab vocab = vocab_of(input);
  const auto names_a_byte = [&](const auto& token) {
    const auto at = static_cast<std::size_t>(token.id);
    return token.id >= 0 && at < vocab.types.size() && vocab.types[at] == TokenType::byte;
  };
  const bool byte_is_added = std::any_of(vocab.added.begin(), vocab.added.end(), names_a_byte);
  const auto tokenizer = Tokenizer::create(std::move(vocab), "fuzz");
  if (!tokenizer.ok()) return 0;
  const std::string text = input.rest();
  // Every byte has a token, and nothing else is called like one (it would decode to that byte), nor is the text "<0x41>"
  // itself an added token that stands for the byte.
  int n_bytes = 0, n_called = 0;
  for (TokenId id = 0; id < static_cast<TokenId>(tokenizer->size()); ++id) {
    n_bytes += tokenizer->vocab().types[static_cast<std::size_t>(id)] == TokenType::byte;
    n_called += tokenizer->byte(id).has_value();
  }
  for (const bool parse_special : {false, true}) {
    const auto ids = tokenizer->encode(text, {.parse_special = parse_special});
    Detokenizer stream(*tokenizer, /*skip_special=*/false);
    std::string raw, streamed;
    for (const TokenId id : ids) {
      UNICORN_CHECK(id >= 0 && static_cast<std::size_t>(id) < tokenizer->size());
      UNICORN_CHECK(parse_special || !tokenizer->is_control(id) || id == tokenizer->vocab().unk);
      raw += tokenizer->piece_bytes(id);
      streamed += stream.push(id);
      UNICORN_CHECK(is_utf8(streamed));
    }
    streamed += stream.finish();
    UNICORN_CHECK(is_utf8(tokenizer->decode(ids)));
    UNICORN_CHECK(!is_utf8(raw) || streamed == raw);
    if (n_bytes != 256 || n_called != 256 || byte_is_added) continue;
    // Nothing is lost: the pieces are the text, with a space for every U+2581.
    std::string want;
    for (std::size_t at = 0; at < text.size();) {
      const bool marker = std::string_view(text).substr(at).starts_with("\xE2\x96\x81");
      want += marker ? ' ' : text[at];
      at += marker ? 3 : 1;
    }
    UNICORN_CHECK(raw == want);
  }
  return 0;
}
