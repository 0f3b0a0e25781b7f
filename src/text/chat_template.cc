#include "text/chat_template.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/quote.h"
#include "text/utf8.h"

namespace unicorn {
namespace {

constexpr std::string_view kStartOfTurn = "<start_of_turn>";
constexpr std::string_view kEndOfTurn = "<end_of_turn>";

// What Python's str.strip takes away, as the Jinja template's `trim` does.
bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string_view trim(std::string_view text) {
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    if (c.n_bytes == 0 || !is_space(c.value)) break;
    text.remove_prefix(c.n_bytes);
  }
  while (!text.empty()) {
    std::size_t last = text.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    const CodePoint c = first_code_point(text.substr(last));
    if (last + c.n_bytes != text.size() || c.n_bytes == 0 || !is_space(c.value)) break;
    text.remove_suffix(c.n_bytes);
  }
  return text;
}

// The text between "<start_of_turn>" and "<end_of_turn>", message by message.
Result<std::vector<std::string>> turns_of(const std::vector<ChatMessage>& messages) {
  const bool has_system = !messages.empty() && messages[0].role == "system";
  const std::size_t first = has_system ? 1 : 0;
  if (messages.size() == first) {
    return Error{ErrorCode::invalid_argument, "messages: expected at least one user message, found none"};
  }
  std::vector<std::string> turns;
  for (std::size_t i = first; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    const bool is_user = (i - first) % 2 == 0;
    const bool matches = is_user ? message.role == "user" : message.role == "assistant" || message.role == "model";
    if (!matches) {
      return Error{ErrorCode::invalid_argument,
                   fmt::format("messages[{}].role is {}, expected '{}': after an optional system message, user and "
                               "assistant take turns",
                               i, quote(message.role), is_user ? "user" : "assistant")};
    }
    std::string turn = is_user ? "user\n" : "model\n";
    if (i == first && has_system) turn += messages[0].content + "\n\n";
    turn += trim(message.content);
    turns.push_back(std::move(turn));
  }
  return turns;
}

TokenId find_control(const Tokenizer& tokenizer, std::string_view text) {
  const auto id = tokenizer.find(text);
  return id && tokenizer.is_control(*id) ? *id : -1;
}

}  // namespace

Result<ChatFormat> ChatFormat::for_tokenizer(const Tokenizer& tokenizer) {
  ChatFormat format;
  format.start_ = find_control(tokenizer, kStartOfTurn);
  format.end_ = find_control(tokenizer, kEndOfTurn);
  if (format.start_ < 0 || format.end_ < 0) {
    return Error{ErrorCode::unsupported,
                 fmt::format("chat: the vocabulary has no control token '{}', which Gemma's chat format needs",
                             format.start_ < 0 ? kStartOfTurn : kEndOfTurn)};
  }
  format.bos_text_ = tokenizer.piece(tokenizer.vocab().bos);
  return format;
}

Result<std::vector<TokenId>> ChatFormat::encode(const Tokenizer& tokenizer, const std::vector<ChatMessage>& messages,
                                                bool add_generation_prompt) const {
  UNICORN_ASSIGN(const std::vector<std::string> turns, turns_of(messages));
  std::vector<TokenId> ids;
  const auto add_text = [&](std::string_view text) {
    const std::vector<TokenId> more = tokenizer.encode(text);  // parse_special is off
    ids.insert(ids.end(), more.begin(), more.end());
  };
  if (tokenizer.vocab().bos >= 0) ids.push_back(tokenizer.vocab().bos);
  for (const std::string& turn : turns) {
    ids.push_back(start_);
    add_text(turn);
    ids.push_back(end_);
    add_text("\n");
  }
  if (add_generation_prompt) {
    ids.push_back(start_);
    add_text("model\n");
  }
  return ids;
}

Result<std::string> ChatFormat::render(const std::vector<ChatMessage>& messages, bool add_generation_prompt) const {
  UNICORN_ASSIGN(const std::vector<std::string> turns, turns_of(messages));
  std::string text = bos_text_;
  for (const std::string& turn : turns) text += fmt::format("{}{}{}\n", kStartOfTurn, turn, kEndOfTurn);
  if (add_generation_prompt) text += fmt::format("{}model\n", kStartOfTurn);
  return text;
}

std::vector<TokenId> stop_ids(const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  for (const TokenId id : {tokenizer.vocab().eos, find_control(tokenizer, kEndOfTurn)}) {
    if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  return ids;
}

}  // namespace unicorn
