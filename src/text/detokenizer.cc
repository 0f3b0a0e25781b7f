#include "text/detokenizer.h"

#include "text/utf8.h"

namespace unicorn {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer), skip_special_(skip_special) {}

std::string Detokenizer::push(TokenId id) {
  if (skip_special_ && tokenizer_->is_control(id)) return {};
  if (const auto byte = tokenizer_->byte(id)) {
    pending_ += static_cast<char>(*byte);
    std::string out;
    take_complete(out);
    return out;
  }
  const std::string text = tokenizer_->piece_bytes(id);
  if (text.empty()) return {};  // no such token
  return finish() + text;
}

std::string Detokenizer::finish() {
  std::string out;
  for (std::size_t i = 0; i < pending_.size(); ++i) out += kReplacementCharacter;
  pending_.clear();
  return out;
}

// Moves all of pending_ but an unfinished code point to `out`.
void Detokenizer::take_complete(std::string& out) {
  std::size_t at = 0;
  while (at < pending_.size()) {
    const CodePoint c = first_code_point(std::string_view(pending_).substr(at));
    if (c.truncated) break;
    if (c.n_bytes == 0) {
      out += kReplacementCharacter;
      ++at;
    } else {
      out.append(pending_, at, c.n_bytes);
      at += c.n_bytes;
    }
  }
  pending_.erase(0, at);
}

}  // namespace unicorn
