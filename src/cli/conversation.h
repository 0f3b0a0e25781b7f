// Conversation: the token ids of a talk in turns. What the model said is kept as the ids it said, never tokenised again,
// so each prompt begins with exactly the tokens whose KV rows are in the cache.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace unicorn {

class Conversation {
 public:
  // `tokenizer` must outlive the conversation. Error: unsupported, when its vocabulary has no turns.
  static Result<Conversation> create(const Tokenizer& tokenizer);

  struct Prompt {
    std::vector<TokenId> ids;
    std::size_t n_dropped = 0;  // oldest turns left out, now and for good, to make room
  };
  // The prompt that puts `message` to the model. When it would hold more than `max_tokens`, the oldest turns are
  // dropped, whole. Error: context_full, when not even the message alone fits; then nothing is changed.
  Result<Prompt> ask(std::string message, std::size_t max_tokens);
  void answer(std::span<const TokenId> ids);  // what the model said to the last message, without end of turn
  void take_back();  // the last message got no answer: as if it was never put

  void reset() { turns_.clear(); }
  void set_system(std::string text);  // what the model should keep to; also resets
  const std::string& system() const { return system_; }
  std::size_t n_turns() const { return turns_.size(); }

 private:
  struct Turn {
    std::string message;
    std::vector<TokenId> answer;
    bool answered = false;
  };
  Conversation(const Tokenizer& tokenizer, ChatFormat format);
  Result<std::vector<TokenId>> encode(std::size_t first_turn) const;

  const Tokenizer* tokenizer_;
  ChatFormat format_;
  std::vector<TokenId> between_turns_;  // end of turn, newline
  std::string system_;
  std::vector<Turn> turns_;
};

}  // namespace unicorn
