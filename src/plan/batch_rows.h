// Where each row of a batch stands: worked out once per submit, the same for every backend.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/backend.h"

namespace unicorn {

struct RowPlace {
  std::uint32_t segment;  // index into Batch::segments
  std::uint32_t slot;     // KV slot it writes: segment.pos + its index in the segment
  std::uint32_t pos;      // position for RoPE and windows: equals slot unless the segment is a draft tree
};

struct BatchRows {
  std::vector<RowPlace> all;     // by batch row
  std::vector<RowPlace> output;  // by output row
};

// Checks a batch against the limits a program was compiled for and places its rows.
// Error: invalid_argument, naming what is out of bounds.
Result<BatchRows> place_rows(const Plan& plan, const Limits& limits, const Batch& batch);

// May the row see this slot of its own sequence? (Causality and draft-tree ancestry; windows are the step's.)
bool sees_slot(const Segment& segment, const RowPlace& row, std::uint32_t slot);

// The KV block that holds a slot, from the segment's table of the group.
inline BlockId block_of(const Segment& segment, std::uint32_t group, std::uint32_t slot, const Limits& limits) {
  return segment.kv[group][slot / limits.kv_block_tokens];
}

}  // namespace unicorn
