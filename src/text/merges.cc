#include "text/merges.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "text/quote.h"

namespace unicorn {

Result<std::vector<Merge>> resolve_merges(std::span<const std::pair<TokenId, TokenId>> pairs, const TextTable& texts,
                                          std::span<const PieceUse> uses, std::string_view what) {
  const auto n_pieces = static_cast<TokenId>(texts.size());
  const auto usable = [&](TokenId id) { return uses[static_cast<std::size_t>(id)] != PieceUse::none; };
  std::vector<Merge> merges;
  merges.reserve(pairs.size());
  // In blocks, so that the memory of many look-ups is on its way at once: the table is larger than the cache.
  constexpr std::size_t kBlock = 32;
  struct Joined {
    std::size_t begin, size;
    std::uint64_t hash;
  };
  std::string joined;
  Joined block[kBlock];
  for (std::size_t first = 0; first < pairs.size(); first += kBlock) {
    const std::size_t n = std::min(kBlock, pairs.size() - first);
    joined.clear();
    for (std::size_t i = 0; i < n; ++i) {
      const auto [left, right] = pairs[first + i];
      if (left < 0 || left >= n_pieces || right < 0 || right >= n_pieces) {
        return Error{ErrorCode::corrupt_file, fmt::format("{}: merges[{}] joins ids {} and {}, expected ids below {}",
                                                          what, first + i, left, right, n_pieces)};
      }
      block[i].begin = joined.size();
      joined += texts[left];
      joined += texts[right];
      block[i].size = joined.size() - block[i].begin;
      block[i].hash = hash_text(std::string_view(joined).substr(block[i].begin));
      texts.prefetch(block[i].hash);
    }
    for (std::size_t i = 0; i < n; ++i) {
      const auto [left, right] = pairs[first + i];
      if (!usable(left) || !usable(right)) continue;
      const std::string_view text = std::string_view(joined).substr(block[i].begin, block[i].size);
      const TokenId merged = texts.find(text, block[i].hash);
      if (merged < 0) {
        return Error{ErrorCode::corrupt_file,
                     fmt::format("{}: merges[{}] joins {} and {}, but {} is not a piece", what, first + i,
                                 quote(texts[left]), quote(texts[right]), quote(text))};
      }
      if (usable(merged)) merges.push_back({left, right, merged});
    }
  }
  return merges;
}

std::vector<Merge> rebuild_merges(std::span<const float> scores, const TextTable& texts,
                                  std::span<const PieceUse> uses) {
  const auto score = [&](TokenId id) {
    const auto i = static_cast<std::size_t>(id);
    if (uses[i] == PieceUse::preferred) return std::numeric_limits<float>::infinity();
    const float s = scores.empty() ? 0 : scores[i];
    return std::isnan(s) ? -std::numeric_limits<float>::infinity() : s;
  };
  std::vector<TokenId> order;
  for (TokenId id = 0; id < static_cast<TokenId>(texts.size()); ++id) {
    if (uses[static_cast<std::size_t>(id)] != PieceUse::none) order.push_back(id);
  }
  std::sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
    const float score_a = score(a), score_b = score(b);
    return score_a != score_b ? score_a > score_b : a < b;
  });

  struct Split {
    Merge merge;
    std::uint32_t n_left, n_right;  // code points
  };
  std::vector<Merge> merges;
  std::vector<Split> group;  // splits of the pieces that share a score
  const auto flush = [&] {
    std::sort(group.begin(), group.end(), [](const Split& a, const Split& b) {
      if (a.n_left != b.n_left) return a.n_left > b.n_left;
      if (a.n_right != b.n_right) return a.n_right > b.n_right;
      return a.merge.merged < b.merge.merged;
    });
    for (const Split& split : group) merges.push_back(split.merge);
    group.clear();
  };
  const auto part = [&](std::string_view text) {
    const TokenId id = texts.find(text);
    return id >= 0 && uses[static_cast<std::size_t>(id)] != PieceUse::none ? id : -1;
  };
  const auto starts_code_point = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  for (std::size_t i = 0; i < order.size(); ++i) {
    const bool same_score = i > 0 && score(order[i]) == score(order[i - 1]) &&
                            (!scores.empty() || uses[static_cast<std::size_t>(order[i])] == PieceUse::preferred);
    if (!same_score) flush();
    const std::string_view text = texts[order[i]];
    const auto n_code_points = static_cast<std::uint32_t>(std::count_if(text.begin(), text.end(), starts_code_point));
    std::uint32_t n_left = 0;
    for (std::size_t at = 1; at < text.size(); ++at) {
      if (!starts_code_point(text[at])) continue;
      ++n_left;
      const TokenId left = part(text.substr(0, at));
      if (left < 0) continue;
      const TokenId right = part(text.substr(at));
      if (right < 0) continue;
      group.push_back({{left, right, order[i]}, n_left, n_code_points - n_left});
    }
  }
  flush();
  return merges;
}

}  // namespace unicorn
