// What the CPU backend shows to people: what this CPU can do, and where the time of its programs goes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "plan/backend.h"

namespace unicorn::cpu {

// What products with weights are set against, measured here and now with the kernels that the backend would choose.
struct CpuLimits {
  double int8_ops_per_s = 0;   // from registers; a multiply-add counts as two
  double read_bytes_per_s = 0; // from memory, past every cache; 0: no memory to measure with
};

// Takes about a second, all of n_threads, and 512 MiB. 0 threads: as many as the backend would take. Errors: those of
// create_cpu_backend.
Result<CpuLimits> measure_limits(std::size_t n_threads);

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
