#include "text/bpe.h"

#include <algorithm>
#include <bit>

#include "text/utf8.h"

namespace unicorn {
namespace {

// Up to this many symbols, looking at every pair for the lowest rank beats a heap (random letters on Zen 4: 40 % faster
// at 16, 7 % at 64, even near 110).
constexpr std::size_t kMaxShort = 96;
// Longer words are rarely seen twice, and hashing them is wasted.
constexpr std::size_t kMaxCachedBytes = 64;
constexpr char32_t kReplacement = 0xFFFD;  // stands for invalid UTF-8 where there is no byte token

}  // namespace

BpeScratch::BpeScratch(std::size_t text_bytes) {
  if (text_bytes < 256) return;  // clearing a cache would take longer than it saves
  words_.resize(std::clamp(std::bit_ceil(text_bytes / 32), std::size_t{16}, std::size_t{8192}));
}

Bpe::Bpe(const Config& config, TextTable texts, std::vector<PieceUse> uses, std::span<const Merge> merges)
    : config_(config), texts_(std::move(texts)), uses_(std::move(uses)) {
  const std::size_t n_pieces = texts_.size();
  alone_ = std::make_unique<std::atomic<Alone>[]>(n_pieces);

  // An unknown token stands for a run of characters, which may lie in several words.
  for (const TokenId id : config_.bytes) words_are_independent_ = words_are_independent_ && id >= 0;

  for (std::size_t i = 0; i < n_pieces; ++i) {
    const auto id = static_cast<TokenId>(i);
    if (uses_[i] == PieceUse::none) {
      alone_[i].store(Alone::splits, std::memory_order_relaxed);
      continue;
    }
    const std::string_view text = texts_[id];
    max_piece_bytes_ = std::max(max_piece_bytes_, text.size());
    const CodePoint c = first_code_point(text);
    if (c.n_bytes != text.size()) continue;
    if (code_points_.size() <= c.value) code_points_.resize(c.value + 1, -1);
    if (code_points_[c.value] < 0) code_points_[c.value] = id;
  }

  // A pair listed twice counts where it stands last, as in Hugging Face's map.
  resize_pairs(merges.size() + merges.size() / 32);
  std::vector<bool> is_merged(n_pieces);
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& soon = merges[std::min(rank + 16, merges.size() - 1)];
    __builtin_prefetch(&pairs_[pair_hash(pair_key(soon.left, soon.right)) >> pair_shift_], 1);
    Pair& pair = pair_slot(merges[rank].left, merges[rank].right);
    pair.rank = static_cast<std::uint32_t>(rank);
    pair.merged = merges[rank].merged;
    is_merged[static_cast<std::size_t>(merges[rank].merged)] = true;
  }
  std::array<std::array<bool, kNonAscii>, kNonAscii> seen{};  // most neighbours are ASCII and come up many times
  for (std::size_t i = 0; i < n_pieces; ++i) {
    if (!is_merged[i]) continue;
    std::string_view text = texts_[static_cast<TokenId>(i)];
    CodePoint a = first_code_point(text);
    for (text.remove_prefix(a.n_bytes); !text.empty(); text.remove_prefix(a.n_bytes)) {
      const CodePoint b = first_code_point(text);
      const TokenId left = code_point_id(a.value), right = code_point_id(b.value);
      const bool is_new = a.value >= kNonAscii || b.value >= kNonAscii || !seen[a.value][b.value];
      if (is_new && left >= 0 && right >= 0) {
        pair_slot(left, right);
        adjacent_[std::min<std::size_t>(a.value, kNonAscii)][std::min<std::size_t>(b.value, kNonAscii)] = true;
        if (a.value < kNonAscii && b.value < kNonAscii) seen[a.value][b.value] = true;
      }
      a = b;
    }
  }
  adjacent_[kNonAscii][kNonAscii] = true;  // also the bytes of one character
}

void Bpe::resize_pairs(std::size_t n_pairs) {
  const std::vector<Pair> old = std::move(pairs_);
  pairs_.assign(std::bit_ceil(n_pairs + n_pairs / 2 + 16), Pair{});
  pair_shift_ = 64 - static_cast<unsigned>(std::countr_zero(pairs_.size()));
  n_pairs_ = 0;
  for (const Pair& pair : old) {
    if (pair.key == Pair{}.key) continue;
    pair_slot(static_cast<TokenId>(pair.key >> 32), static_cast<TokenId>(pair.key & 0xFFFFFFFF)) = pair;
  }
}

Bpe::Pair& Bpe::pair_slot(TokenId left, TokenId right) {
  const std::uint64_t key = pair_key(left, right);
  std::size_t i = pair_hash(key) >> pair_shift_;
  for (; pairs_[i].key != key; i = (i + 1) & (pairs_.size() - 1)) {
    if (pairs_[i].key != Pair{}.key) continue;
    if (4 * ++n_pairs_ > 3 * pairs_.size()) {
      resize_pairs(2 * n_pairs_);
      return pair_slot(left, right);
    }
    pairs_[i].key = key;
    break;
  }
  return pairs_[i];
}

inline const Bpe::Pair* Bpe::find_pair(TokenId left, TokenId right) const {
  const std::uint64_t key = pair_key(left, right);
  for (std::size_t i = pair_hash(key) >> pair_shift_;; i = (i + 1) & (pairs_.size() - 1)) {
    if (pairs_[i].key == key) return &pairs_[i];
    if (pairs_[i].key == Pair{}.key) return nullptr;
  }
}

void Bpe::encode(std::string_view text, BpeScratch& scratch, std::vector<TokenId>& ids) const {
  if (text.empty()) return;
  if (config_.ignore_merges) {
    const TokenId id = texts_.find(text);
    if (id >= 0 && use(id) != PieceUse::none) {
      ids.push_back(id);
      return;
    }
  }
  if (!words_are_independent_) return merge_word(text, scratch, ids);
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = begin + 1;
    std::size_t last = byte_class(text[begin]);
    while (end < text.size()) {
      const std::size_t next = byte_class(text[end]);
      if (!adjacent_[last][next]) break;
      last = next;
      ++end;
    }
    encode_word(text.substr(begin, end - begin), scratch, ids);
    begin = end;
  }
}

void Bpe::encode_word(std::string_view word, BpeScratch& scratch, std::vector<TokenId>& ids) const {
  const std::size_t ids_begin = ids.size();
  const bool may_be_piece = word.size() <= max_piece_bytes_;
  const bool may_be_cached = word.size() <= kMaxCachedBytes && !scratch.words_.empty();
  const std::uint64_t hash = may_be_piece || may_be_cached ? hash_text(word) : 0;

  TokenId piece = may_be_piece ? texts_.find(word, hash) : -1;
  if (piece >= 0) {
    std::atomic<Alone>& alone = alone_[static_cast<std::size_t>(piece)];
    // Relaxed: whoever computes it finds the same, from data that never changes.
    switch (alone.load(std::memory_order_relaxed)) {
      case Alone::whole:
        ids.push_back(piece);
        return;
      case Alone::splits:
        break;
      case Alone::unknown:
        merge_word(word, scratch, ids);
        alone.store(ids.size() == ids_begin + 1 && ids.back() == piece ? Alone::whole : Alone::splits,
                    std::memory_order_relaxed);
        return;
    }
  }

  if (!may_be_cached) return merge_word(word, scratch, ids);
  BpeScratch::Word& seen = scratch.words_[(hash >> 32) & (scratch.words_.size() - 1)];
  if (equal_text({seen.text, seen.size}, word)) {
    ids.resize(ids_begin + seen.n_ids);
    std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(seen.ids_begin), seen.n_ids,
                ids.begin() + static_cast<std::ptrdiff_t>(ids_begin));
    return;
  }
  merge_word(word, scratch, ids);
  seen = {word.data(), word.size(), ids_begin, ids.size() - ids_begin};
}

void Bpe::split_into_symbols(std::string_view word, std::vector<TokenId>& symbols) const {
  bool pending_unk = false;  // an unknown run not yet written; Hugging Face writes it before the next known character
  for (std::size_t at = 0; at < word.size();) {
    const CodePoint c = first_code_point(word.substr(at));
    const std::size_t n_bytes = c.n_bytes == 0 ? 1 : c.n_bytes;
    TokenId id = c.n_bytes == 0 ? -1 : code_point_id(c.value);
    const std::string_view bytes = word.substr(at, n_bytes);
    at += n_bytes;
    if (id < 0) {
      const auto byte_id = [&](char b) { return config_.bytes[static_cast<unsigned char>(b)]; };
      if (std::all_of(bytes.begin(), bytes.end(), [&](char b) { return byte_id(b) >= 0; })) {
        for (const char b : bytes) symbols.push_back(byte_id(b));
        continue;
      }
      if (c.n_bytes == 0) id = code_point_id(kReplacement);
    }
    if (id >= 0) {
      if (pending_unk) symbols.push_back(config_.unk);
      pending_unk = false;
      symbols.push_back(id);
    } else {
      pending_unk = config_.unk >= 0;
    }
  }
  if (pending_unk) symbols.push_back(config_.unk);
}

void Bpe::merge_word(std::string_view word, BpeScratch& scratch, std::vector<TokenId>& ids) const {
  std::vector<TokenId>& symbols = scratch.ids_;
  symbols.clear();
  split_into_symbols(word, symbols);
  if (scratch.ranks_.size() < symbols.size()) {
    scratch.ranks_.resize(symbols.size());
    scratch.merged_.resize(symbols.size());
  }
  // What encode() does by byte class is done here by symbol: split wherever no piece has the two side by side.
  for (std::size_t begin = 0; begin < symbols.size();) {
    std::size_t end = begin + 1;
    bool any = false;
    for (; end < symbols.size(); ++end) {
      const Pair* pair = find_pair(symbols[end - 1], symbols[end]);
      if (pair == nullptr) break;
      scratch.ranks_[end - 1] = pair->rank;
      scratch.merged_[end - 1] = pair->merged;
      any = any || pair->rank != kNoMerge;
    }
    scratch.ranks_[end - 1] = kNoMerge;
    if (!any) {
      ids.insert(ids.end(), symbols.begin() + static_cast<std::ptrdiff_t>(begin),
                 symbols.begin() + static_cast<std::ptrdiff_t>(end));
    } else if (end - begin <= kMaxShort) {
      merge_short(scratch, begin, end, ids);
    } else {
      merge_long(scratch, begin, end, ids);
    }
    begin = end;
  }
}

void Bpe::merge_short(BpeScratch& scratch, std::size_t begin, std::size_t end, std::vector<TokenId>& ids) const {
  TokenId* const symbols = scratch.ids_.data() + begin;
  std::uint32_t* const ranks = scratch.ranks_.data() + begin;
  TokenId* const merged = scratch.merged_.data() + begin;
  std::size_t n = end - begin;
  const auto look_up = [&](std::size_t i) {
    const Pair* pair = find_pair(symbols[i], symbols[i + 1]);
    ranks[i] = pair == nullptr ? kNoMerge : pair->rank;
    merged[i] = pair == nullptr ? -1 : pair->merged;
  };
  while (n > 1) {
    const auto best = static_cast<std::size_t>(std::min_element(ranks, ranks + n - 1) - ranks);  // the leftmost
    if (ranks[best] == kNoMerge) break;
    symbols[best] = merged[best];
    --n;
    for (std::size_t i = best + 1; i < n; ++i) {
      symbols[i] = symbols[i + 1];
      ranks[i] = ranks[i + 1];
      merged[i] = merged[i + 1];
    }
    if (best > 0) look_up(best - 1);
    if (best + 1 < n) look_up(best);
  }
  ids.insert(ids.end(), symbols, symbols + n);
}

void Bpe::merge_long(BpeScratch& scratch, std::size_t begin, std::size_t end, std::vector<TokenId>& ids) const {
  TokenId* const symbols = scratch.ids_.data() + begin;
  std::uint32_t* const ranks = scratch.ranks_.data() + begin;
  TokenId* const merged = scratch.merged_.data() + begin;
  const std::size_t n = end - begin;
  auto& links = scratch.links_;
  auto& heap = scratch.heap_;
  using Candidate = BpeScratch::Candidate;
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  };

  links.resize(n);
  heap.clear();
  for (std::size_t i = 0; i < n; ++i) {
    links[i] = {i - 1, i + 1};  // the first symbol is never looked back from
    if (i + 1 < n && ranks[i] != kNoMerge) heap.push_back({ranks[i], i});
  }
  std::make_heap(heap.begin(), heap.end(), later);
  const auto look_up = [&](std::size_t i) {
    const Pair* pair = find_pair(symbols[i], symbols[links[i].next]);
    ranks[i] = pair == nullptr ? kNoMerge : pair->rank;
    merged[i] = pair == nullptr ? -1 : pair->merged;
    if (ranks[i] == kNoMerge) return;
    heap.push_back({ranks[i], i});
    std::push_heap(heap.begin(), heap.end(), later);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Candidate top = heap.back();
    heap.pop_back();
    if (ranks[top.at] != top.rank) continue;  // one of the two was joined to another symbol meanwhile
    const std::size_t right = links[top.at].next;
    symbols[top.at] = merged[top.at];
    ranks[right] = kNoMerge;
    ranks[top.at] = kNoMerge;
    links[top.at].next = links[right].next;
    if (links[right].next < n) links[links[right].next].previous = top.at;
    if (top.at > 0) look_up(links[top.at].previous);
    if (links[top.at].next < n) look_up(top.at);
  }
  for (std::size_t i = 0; i < n; i = links[i].next) ids.push_back(symbols[i]);
}

}  // namespace unicorn
