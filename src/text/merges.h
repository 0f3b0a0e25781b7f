// Merges: which two pieces join to which third, in rank order (the first is applied first).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/token_id.h"
#include "text/text_table.h"

namespace unicorn {

struct Merge {
  TokenId left, right, merged;
};

// How a piece may come about when text is encoded.
enum class PieceUse : std::uint8_t {
  none,       // never from text: control, unknown and byte tokens, and what the normaliser makes impossible
  merged,     // from a code point or by merges
  preferred,  // the same, and its merges come before all others (user-defined runs of spaces, newlines, tabs)
};

// The merges a file lists as pairs. Error: corrupt_file, when a pair does not join to a piece.
Result<std::vector<Merge>> resolve_merges(std::span<const std::pair<TokenId, TokenId>> pairs, const TextTable& texts,
                                          std::span<const PieceUse> uses, std::string_view what);

// The merges of a vocabulary that has none (GGUF, SentencePiece): every split of every piece into two pieces. A higher
// score comes first (empty scores: a lower id), then the longer left part in code points. On Gemma's vocabulary this
// gives the merge list of its tokenizer.json, in the same order. Takes O(bytes · longest piece).
std::vector<Merge> rebuild_merges(std::span<const float> scores, const TextTable& texts,
                                  std::span<const PieceUse> uses);

}  // namespace unicorn
