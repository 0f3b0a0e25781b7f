// Byte ranges of a file's tensors, checked against each other.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace unicorn {

struct Extent {
  std::uint64_t begin, end;  // begin < end
  std::size_t index;         // whose
};

// The indices of two extents that share a byte, in file order; nullopt if there are none.
inline std::optional<std::pair<std::size_t, std::size_t>> find_overlap(std::vector<Extent> extents) {
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.index < b.index;
  });
  for (std::size_t i = 1; i < extents.size(); ++i)
    if (extents[i].begin < extents[i - 1].end) return std::pair(extents[i - 1].index, extents[i].index);
  return std::nullopt;
}

}  // namespace unicorn
