// Chat messages → prompt ids, in the model family's own turn format. Message text never becomes a control token.
#pragma once

#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace unicorn {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant" (or "model")
  std::string content;
};

// Gemma's turns, found in the vocabulary by content ("<start_of_turn>", "<end_of_turn>"):
//
//   <bos><start_of_turn>user
//   {system, as it is, and an empty line}{content, trimmed}<end_of_turn>
//   <start_of_turn>model
//   …
class ChatFormat {
 public:
  // Error: unsupported, when the vocabulary has no turn tokens.
  static Result<ChatFormat> for_tokenizer(const Tokenizer& tokenizer);

  // Ids of the whole conversation, BOS first (where the vocabulary has one), ending with the opening of the model's turn
  // if `add_generation_prompt`. `tokenizer` is the one this format was made for.
  // Error: invalid_argument, when roles do not alternate user/assistant (after an optional leading system message), or
  // when there is no user message.
  Result<std::vector<TokenId>> encode(const Tokenizer& tokenizer, const std::vector<ChatMessage>& messages,
                                      bool add_generation_prompt = true) const;
  // The same as text, for people and tests. Not for encoding: a message may spell out a control token.
  Result<std::string> render(const std::vector<ChatMessage>& messages, bool add_generation_prompt = true) const;

  TokenId start_of_turn() const { return start_; }
  TokenId end_of_turn() const { return end_; }

 private:
  TokenId start_ = -1, end_ = -1;
  std::string bos_text_;
};

// Ids that end an answer: EOS and the end-of-turn token, where the vocabulary has them. Not "</s>", which is an HTML tag
// in Gemma's vocabulary.
std::vector<TokenId> stop_ids(const Tokenizer& tokenizer);

}  // namespace unicorn
