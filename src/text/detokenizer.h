// Streaming detokenizer: tokens in, whole UTF-8 out. Holds back the bytes of an unfinished code point.
#pragma once

#include <string>

#include "text/tokenizer.h"

namespace unicorn {

// Of valid UTF-8 the pieces joined are Tokenizer::decode of the same ids. A byte that can no longer become part of a
// code point is U+FFFD at once; what came whole before it is kept (decode, which sees the end of a run of byte tokens,
// gives U+FFFD for all of that run).
class Detokenizer {
 public:
  // `tokenizer` must outlive this.
  explicit Detokenizer(const Tokenizer& tokenizer, bool skip_special = true);

  std::string push(TokenId id);  // the text that became complete, perhaps none
  std::string finish();          // what was held back, as one U+FFFD per byte; ready for a new text then

 private:
  void take_complete(std::string& out);

  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;  // 0 … 3 bytes that a code point could start with
};

}  // namespace unicorn
