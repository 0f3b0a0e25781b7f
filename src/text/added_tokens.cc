#include "text/added_tokens.h"

#include <algorithm>

namespace unicorn {

void AddedTokenMatcher::add(std::string_view text, TokenId id, bool special) {
  if (!text.empty()) tokens_.push_back({text, id, special, tokens_.size()});
}

void AddedTokenMatcher::finish() {
  std::sort(tokens_.begin(), tokens_.end(),
            [](const Token& a, const Token& b) { return a.text != b.text ? a.text < b.text : a.order < b.order; });
  // In sorted order the tokens below a node are neighbours: [begin, end) share their first `depth` bytes.
  struct Range {
    std::uint32_t node;
    std::size_t begin, end, depth;
  };
  nodes_.assign(1, Node{});
  edges_.clear();
  std::vector<Range> todo{{0, 0, tokens_.size(), 0}};
  while (!todo.empty()) {
    Range range = todo.back();
    todo.pop_back();
    for (; range.begin < range.end && tokens_[range.begin].text.size() == range.depth; ++range.begin) {
      nodes_[range.node].id = tokens_[range.begin].id;
      nodes_[range.node].special = tokens_[range.begin].special;
    }
    nodes_[range.node].first_edge = static_cast<std::uint32_t>(edges_.size());
    for (std::size_t i = range.begin; i < range.end;) {
      const char byte = tokens_[i].text[range.depth];
      std::size_t j = i;
      while (j < range.end && tokens_[j].text[range.depth] == byte) ++j;
      const auto child = static_cast<std::uint32_t>(nodes_.size());
      nodes_.emplace_back();
      edges_.push_back({child, static_cast<unsigned char>(byte)});
      todo.push_back({child, i, j, range.depth + 1});
      i = j;
    }
    nodes_[range.node].n_edges = static_cast<std::uint32_t>(edges_.size()) - nodes_[range.node].first_edge;
  }
  root_.fill(0);
  for (std::uint32_t i = 0; i < nodes_[0].n_edges; ++i) root_[edges_[i].byte] = edges_[i].node;
  tokens_.clear();
  tokens_.shrink_to_fit();
}

AddedTokenMatcher::Match AddedTokenMatcher::next(std::string_view text, std::size_t from, bool with_special) const {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    std::uint32_t at = root_[static_cast<unsigned char>(text[begin])];
    if (at == 0) continue;
    Match best;
    for (std::size_t end = begin + 1;; ++end) {
      const Node& node = nodes_[at];
      if (node.id >= 0 && (with_special || !node.special)) best = {begin, end, node.id};
      if (end == text.size()) break;
      const auto byte = static_cast<unsigned char>(text[end]);
      at = 0;
      for (std::uint32_t e = node.first_edge; e < node.first_edge + node.n_edges; ++e) {
        if (edges_[e].byte != byte) continue;
        at = edges_[e].node;
        break;
      }
      if (at == 0) break;
    }
    if (best.id >= 0) return best;
  }
  return {text.size(), text.size(), -1};
}

}  // namespace unicorn
