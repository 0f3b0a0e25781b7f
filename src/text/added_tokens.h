// AddedTokenMatcher: finds a vocabulary's added tokens in a text, leftmost first, the longest where several start.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/token_id.h"

namespace unicorn {

class AddedTokenMatcher {
 public:
  struct Match {
    std::size_t begin = 0, end = 0;
    TokenId id = -1;  // -1: nothing found
  };

  // An empty text is ignored; of two equal ones the later stays.
  void add(std::string_view text, TokenId id, bool special);
  void finish();  // after the last add()
  bool empty() const { return edges_.empty(); }

  // The first match in `text` at or after `from`. Special tokens count only if `with_special`.
  // Takes O(size · longest token) at worst.
  Match next(std::string_view text, std::size_t from, bool with_special) const;

 private:
  struct Node {
    TokenId id = -1;
    bool special = false;
    std::uint32_t first_edge = 0, n_edges = 0;
  };
  struct Edge {
    std::uint32_t node;
    unsigned char byte;
  };
  struct Token {
    std::string_view text;
    TokenId id;
    bool special;
    std::size_t order;
  };

  std::vector<Token> tokens_;  // until finish()
  std::vector<Node> nodes_;    // a trie; nodes_[0] is the root
  std::vector<Edge> edges_;    // of one node together, by ascending byte
  std::array<std::uint32_t, 256> root_{};  // the root's child by byte, 0: none
};

}  // namespace unicorn
