// What the CPU backend shows to people: where the time of its programs goes.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "plan/backend.h"

namespace unicorn::cpu {

struct RunTrace {
  struct Entry {
    std::string_view name;  // a plan's op, a part of one ("ffn.down"), or "barrier": waiting for the other members
    std::uint64_t calls = 0;
    double us = 0;          // as member 0 sees it
  };
  std::uint64_t runs = 0;
  std::uint64_t barriers = 0;       // of all runs; one more at each run's end
  std::uint64_t last_barriers = 0;  // of the latest run
  std::vector<Entry> entries;
};

// `program` must come from a CPU backend. Timing costs some tens of ns per task; barriers are always counted.
void set_tracing(Program& program, bool on);
const RunTrace& trace(const Program& program);

}  // namespace unicorn::cpu
