// Tokenizer: text ↔ token ids over a plain Vocab. BPE by merge rank with byte fallback (SentencePiece style), as
// Gemma uses it; equal to Hugging Face `tokenizers` on the same data.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"
#include "core/token_id.h"

namespace unicorn {

enum class TokenType : std::uint8_t { normal, unknown, control, user_defined, unused, byte };

// Everything a tokenizer needs, whatever file it came from.
struct Vocab {
  std::vector<std::string> pieces;  // by id; ordinary pieces write a space as U+2581. Empty: the id has no text
  std::vector<float> scores;        // empty, or per id: higher merges first (GGUF)
  std::vector<TokenType> types;     // per id; empty: "<0x00>" … "<0xFF>" are byte tokens and the rest is normal
  std::vector<std::pair<TokenId, TokenId>> merges;  // in rank order; empty: ranks are rebuilt from scores and ids
  // Matched on raw text before anything else, leftmost-longest. A subset of `pieces`, or ids beyond them. Pieces of type
  // control, unknown and user_defined that are not listed here are added by Tokenizer::create; a user-defined run of
  // spaces (GGUF stores them so) then stands for a run of U+2581, which is what merging gives for spaces.
  struct Added {
    TokenId id;
    std::string text;
    bool special;  // control tokens: only parsed when asked, skipped when decoding
    bool normalized = false;  // matched after the others, where U+2581 and a space are the same
  };
  std::vector<Added> added;
  TokenId bos = -1, eos = -1, unk = -1, pad = -1;
  bool add_bos = true;
  bool ignore_merges = false;  // text that is a piece as a whole becomes that piece without merging
  std::optional<std::string> chat_template;  // Jinja, when the file carries one
};

// Reads a Hugging Face tokenizer.json. `what` names the file in errors. Truncation and padding settings are ignored.
// Errors: corrupt_file; unsupported (another model, normaliser, pre-tokeniser, post-processor or decoder), named.
Result<Vocab> vocab_from_tokenizer_json(std::string_view json, std::string_view what);

struct EncodeOptions {
  bool add_bos = false;  // where the vocabulary wants one (Vocab::add_bos)
  // False: control tokens written out in the text are text like any other; user-defined ones are still found. True only
  // for text the engine made itself, or raw `--prompt` text as Hugging Face treats it.
  bool parse_special = false;
};

// Const functions may be called by several threads at once.
class Tokenizer {
 public:
  // `what` names the source in errors. Errors: corrupt_file, naming the entry.
  static Result<Tokenizer> create(Vocab vocab, std::string_view what = "vocabulary");
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Invalid UTF-8 in `text` becomes byte tokens (or U+FFFD where the vocabulary has no byte tokens). Cannot fail, and
  // takes O(n log n) at worst.
  std::vector<TokenId> encode(std::string_view text, EncodeOptions options = {}) const;

  // Equal to Hugging Face's decode: a run of byte tokens that is not UTF-8 as a whole gives one U+FFFD per byte, ids
  // out of range give nothing. The result is UTF-8. `skip_special` leaves control tokens out.
  std::string decode(std::span<const TokenId> ids, bool skip_special = false) const;

  std::size_t size() const;  // number of ids, added ones included
  std::string_view piece(TokenId id) const;  // as stored; empty when out of range
  std::string piece_bytes(TokenId id) const;  // what the token contributes to a text: spaces restored, bytes raw
  std::optional<std::uint8_t> byte(TokenId id) const;  // of a byte token
  bool is_control(TokenId id) const;  // control or unknown; false when out of range
  std::optional<TokenId> find(std::string_view piece) const;  // exact text of an added token or piece
  const Vocab& vocab() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace unicorn
