// Bpe: byte pair encoding by merge rank, as Hugging Face's BPE model does it (byte_fallback, fuse_unk), over text whose
// spaces stand for themselves (the tokenizer writes U+2581 as a space before it comes here).
//
// Merging is done word by word. A word ends where no piece has the two neighbouring characters side by side: no merge can
// ever join them, so the words' ids are the text's ids. A word that is a piece and encodes to it is looked up, any other
// that occurred before in the same text is copied, the rest is merged.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/token_id.h"
#include "text/merges.h"
#include "text/text_table.h"

namespace unicorn {

// What encoding one text needs to remember; made per call, so that a Bpe can be shared by threads.
class BpeScratch {
 public:
  explicit BpeScratch(std::size_t text_bytes);

 private:
  friend class Bpe;

  struct Word {  // seen before: its ids are [ids_begin, ids_begin + n_ids) of the output
    const char* text = nullptr;
    std::size_t size = 0, ids_begin = 0, n_ids = 0;
  };
  struct Link {
    std::size_t previous, next;
  };
  struct Candidate {
    std::uint32_t rank;
    std::size_t at;
  };

  std::vector<Word> words_;  // a direct-mapped cache; its size is a power of two, or 0
  std::vector<TokenId> ids_;
  std::vector<std::uint32_t> ranks_;  // of joining symbol i with its right neighbour
  std::vector<TokenId> merged_;  // and what they would become
  std::vector<Link> links_;
  std::vector<Candidate> heap_;
};

class Bpe {
 public:
  struct Config {
    std::array<TokenId, 256> bytes{};  // the byte tokens, -1 where there is none
    TokenId unk = -1;
    bool ignore_merges = false;  // a whole text that is a piece becomes that piece, whatever the merges say
  };

  // `texts` and `uses` by id. Every text is UTF-8.
  Bpe(const Config& config, TextTable texts, std::vector<PieceUse> uses, std::span<const Merge> merges);

  const TextTable& texts() const { return texts_; }
  PieceUse use(TokenId id) const { return uses_[static_cast<std::size_t>(id)]; }

  // Appends the ids of `text`. `text` must stay where it is until the last use of `scratch`, and `ids` may only grow.
  void encode(std::string_view text, BpeScratch& scratch, std::vector<TokenId>& ids) const;

 private:
  static constexpr std::uint32_t kNoMerge = 0xFFFFFFFF;
  static constexpr std::size_t kNonAscii = 128;  // the class of all bytes above 127

  struct Pair {
    std::uint64_t key = ~std::uint64_t{0};
    std::uint32_t rank = kNoMerge;  // kNoMerge: the two stand side by side in some piece, but do not join
    TokenId merged = -1;
  };
  enum class Alone : std::uint8_t { unknown, whole, splits };  // what becomes of a word that is this piece

  static std::size_t byte_class(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < kNonAscii ? byte : kNonAscii;
  }
  static std::uint64_t pair_key(TokenId left, TokenId right) {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  }
  static std::uint64_t pair_hash(std::uint64_t key) { return key * 0x9E3779B97F4A7C15u; }
  void resize_pairs(std::size_t n_pairs);
  Pair& pair_slot(TokenId left, TokenId right);  // made if there is none
  const Pair* find_pair(TokenId left, TokenId right) const;
  TokenId code_point_id(char32_t value) const { return value < code_points_.size() ? code_points_[value] : -1; }

  void encode_word(std::string_view word, BpeScratch& scratch, std::vector<TokenId>& ids) const;
  void merge_word(std::string_view word, BpeScratch& scratch, std::vector<TokenId>& ids) const;
  void split_into_symbols(std::string_view word, std::vector<TokenId>& symbols) const;
  void merge_short(BpeScratch& scratch, std::size_t begin, std::size_t end, std::vector<TokenId>& ids) const;
  void merge_long(BpeScratch& scratch, std::size_t begin, std::size_t end, std::vector<TokenId>& ids) const;

  Config config_;
  TextTable texts_;
  std::vector<PieceUse> uses_;
  bool words_are_independent_ = true;
  std::size_t max_piece_bytes_ = 0;
  std::vector<TokenId> code_points_;  // by code point: the piece that is this one character, or -1
  std::vector<Pair> pairs_;  // open addressing, home slot: the hash's upper bits
  std::size_t n_pairs_ = 0;
  unsigned pair_shift_ = 0;
  std::array<std::array<bool, kNonAscii + 1>, kNonAscii + 1> adjacent_{};  // by byte class: may they share a word
  std::unique_ptr<std::atomic<Alone>[]> alone_;  // by id; filled in as words come by
};

}  // namespace unicorn
