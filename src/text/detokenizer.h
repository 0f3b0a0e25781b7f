// Streaming detokenizer: tokens in, whole UTF-8 out. Holds back the bytes of an unfinished code point.
#pragma once

#include <string>

#include "text/tokenizer.h"

namespace unicorn {

class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer, bool skip_special = true);
  std::string push(TokenId id);  // the text that became complete, perhaps none
  std::string finish();          // what was held back, as U+FFFD

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;
};

}  // namespace unicorn
