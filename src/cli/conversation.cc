#include "cli/conversation.h"

#include <fmt/format.h>

#include <utility>

#include "core/check.h"

namespace unicorn {

Conversation::Conversation(const Tokenizer& tokenizer, ChatFormat format)
    : tokenizer_(&tokenizer), format_(std::move(format)) {
  between_turns_ = tokenizer.encode("\n");
  between_turns_.insert(between_turns_.begin(), format_.end_of_turn());
}

Result<Conversation> Conversation::create(const Tokenizer& tokenizer) {
  UNICORN_ASSIGN(ChatFormat format, ChatFormat::for_tokenizer(tokenizer));
  return Conversation(tokenizer, std::move(format));
}

void Conversation::set_system(std::string text) {
  system_ = std::move(text);
  reset();
}

// bos, user turn with the system text, model turn opened, answer, end of turn, newline, user turn, model turn opened …
Result<std::vector<TokenId>> Conversation::encode(std::size_t first_turn) const {
  std::vector<TokenId> ids;
  for (std::size_t i = first_turn; i < turns_.size(); ++i) {
    std::vector<ChatMessage> messages;
    if (i == first_turn && !system_.empty()) messages.push_back({"system", system_});
    messages.push_back({"user", turns_[i].message});
    UNICORN_ASSIGN(std::vector<TokenId> turn, format_.encode(*tokenizer_, messages));
    const bool has_bos = !turn.empty() && turn.front() == tokenizer_->vocab().bos;
    ids.insert(ids.end(), turn.begin() + (i > first_turn && has_bos ? 1 : 0), turn.end());
    if (!turns_[i].answered) continue;
    ids.insert(ids.end(), turns_[i].answer.begin(), turns_[i].answer.end());
    ids.insert(ids.end(), between_turns_.begin(), between_turns_.end());
  }
  return ids;
}

Result<Conversation::Prompt> Conversation::ask(std::string message, std::size_t max_tokens) {
  turns_.push_back({.message = std::move(message), .answer = {}, .answered = false});
  Prompt prompt;
  while (true) {
    Result<std::vector<TokenId>> ids = encode(prompt.n_dropped);
    const bool last_turn = prompt.n_dropped + 1 == turns_.size();
    if (!ids.ok() || (ids->size() > max_tokens && last_turn)) {
      turns_.pop_back();
      if (!ids.ok()) return std::move(ids).error();
      return Error{ErrorCode::context_full,
                   fmt::format("the message has {} tokens with what surrounds it, there is room for {}", ids->size(),
                               max_tokens)};
    }
    if (ids->size() <= max_tokens) {
      prompt.ids = std::move(ids).value();
      break;
    }
    ++prompt.n_dropped;
  }
  turns_.erase(turns_.begin(), turns_.begin() + static_cast<std::ptrdiff_t>(prompt.n_dropped));
  return prompt;
}

void Conversation::answer(std::span<const TokenId> ids) {
  UNICORN_CHECK(!turns_.empty() && !turns_.back().answered);
  turns_.back().answer.assign(ids.begin(), ids.end());
  turns_.back().answered = true;
}

void Conversation::take_back() {
  UNICORN_CHECK(!turns_.empty() && !turns_.back().answered);
  turns_.pop_back();
}

}  // namespace unicorn
