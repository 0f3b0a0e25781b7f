// Attention over the KV cache for the rows of a batch: the work of one step, cut into units that members take as they
// become free.
//
// A unit is a tile of rows of one segment, for one kv head (its whole GQA group shares the K and V that are read).
// Keys are taken in chunks at fixed absolute positions (256 slots): each chunk is summed from scratch and merged into
// what came before it, in order. So one unit may do all chunks of a tile, or many units one chunk each, whichever keeps
// the members busy, and a row's bits are the same either way. With one chunk per unit, the unit that finishes last
// merges the tile's chunks; nobody waits.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "backends/cpu/kernels/element_kernels.h"
#include "backends/cpu/tasks.h"
#include "plan/batch_rows.h"

namespace unicorn::cpu {

struct AttentionShape {
  Rows rows;
  std::uint32_t window, n_kv_heads, group, head_dim;
  friend bool operator==(const AttentionShape&, const AttentionShape&) = default;
};

// One member's room: sized by AttentionScratch::n_floats for the largest tile.
struct AttentionScratch {
  AttentionScratch() = default;
  AttentionScratch(float* memory, std::size_t n_queries, std::size_t head_dim, std::size_t block_tokens);
  static std::size_t n_floats(std::size_t n_queries, std::size_t head_dim, std::size_t block_tokens);

  float *q, *k, *v, *scores, *total, *part;
  std::vector<std::uint16_t> begin, end;
  std::vector<std::uint8_t> hidden;
};

class AttentionWork {
 public:
  explicit AttentionWork(const AttentionShape& shape) : shape_(shape) {}
  const AttentionShape& shape() const { return shape_; }

  static std::size_t max_queries(std::uint32_t group);  // of a tile

  // Cuts the rows of a batch into units. Before the members start.
  void plan(std::span<const RowPlace> rows, const Limits& limits, std::size_t n_members);

 private:
  friend class Attention;
  struct Tile {
    std::uint32_t first_row, n_rows;  // of the row domain
    std::uint32_t first_chunk, n_chunks;
    std::size_t partials;  // where its states begin, in floats
  };
  struct Unit {
    std::uint32_t tile, kv_head, first_chunk, n_chunks;
  };

  AttentionShape shape_;
  std::vector<Tile> tiles_;
  std::vector<Unit> units_;
  std::vector<float> partials_;  // per tile, kv head and chunk: what a unit of one chunk leaves
  std::unique_ptr<std::atomic<std::uint32_t>[]> finished_;  // per tile and kv head; 0 between runs
  std::size_t n_finished_ = 0;
};

// A step's attention, as the members run it.
class Attention {
 public:
  const ElementKernels& kernels;
  AttentionWork& work;
  const Batch& batch;
  std::span<const RowPlace> rows;
  const Limits& limits;
  const KvLayer& layer;
  std::byte* kv;
  Place q, out;
  float scale;

  // Takes units off `next` until none is left. `store(row, kv_head)` is called by the unit that holds a row's last
  // keys, before it reads them; null if the rows' K and V are in the cache already.
  template <class Store>
  void run(std::atomic<std::uint32_t>& next, AttentionScratch& scratch, std::size_t member, Store store) const {
    for (;;) {
      const std::uint32_t i = next.fetch_add(1, std::memory_order_relaxed);
      if (i >= work.units_.size()) return;
      const AttentionWork::Unit& unit = work.units_[i];
      const AttentionWork::Tile& tile = work.tiles_[unit.tile];
      if (unit.first_chunk + unit.n_chunks == tile.first_chunk + tile.n_chunks)
        store(tile.first_row, tile.n_rows, unit.kv_head);
      run_unit(unit, scratch, member);
    }
  }

 private:
  void run_unit(const AttentionWork::Unit& unit, AttentionScratch& scratch, std::size_t member) const;
  void run_chunk(const AttentionWork::Tile& tile, std::uint32_t kv_head, std::uint32_t chunk, AttentionScratch& scratch,
                 float* state) const;
  void merge(float* total, const float* part, std::size_t n_queries) const;
  void finish(const AttentionWork::Tile& tile, std::uint32_t kv_head, const float* total, std::size_t member) const;
};

}  // namespace unicorn::cpu
