// bench: how fast a loaded model runs, prefill and decode apart, at several depths and for several sequences at once.
// Depth: tokens that are in the cache already. Prefill asks for the last row's logits; decode is greedy and obeys no end
// of answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "engine/engine.h"

namespace unicorn {

struct BenchOptions {
  std::vector<std::uint32_t> prefill{512};
  std::vector<std::uint32_t> decode{64};
  std::vector<std::uint32_t> depths{0};
  std::vector<std::uint32_t> sequences{1};  // decode so many at once; prefill is always one
  std::uint32_t n_reps = 5;  // measured, after one warm-up
};

enum class BenchTest : std::uint8_t { prefill, decode };
std::string_view bench_test_name(BenchTest test);

struct BenchRow {
  BenchTest test = BenchTest::prefill;
  std::uint32_t n = 0, depth = 0, n_sequences = 1;
  double median_tps = 0, min_tps = 0, max_tps = 0;  // tokens per second, of all sequences together
};

// What the engine must be loaded with for these options: n_ctx (unless it is set), n_sequences and max_output_rows.
void reserve_for(const BenchOptions& options, EngineOptions& engine);

// Told what is about to be measured; repetition 0 is the warm-up.
using BenchProgress = std::function<void(const BenchRow& row, std::uint32_t repetition)>;

// Errors: those of Engine::forward; unsupported, when a repetition decodes other tokens than the first: then no
// number is worth printing.
Result<std::vector<BenchRow>> bench(Engine& engine, const BenchOptions& options, const BenchProgress& progress = {},
                                    const std::stop_token& stop = {});

// What the machine can do at most, with n_threads (0: as many as the engine would take).
struct MachineLimits {
  double int8_ops_per_s = 0, read_bytes_per_s = 0;
};
// Zeros when less than 1 GiB of memory is free: measuring needs half of it.
Result<MachineLimits> measure_limits(std::size_t n_threads);

// Tokens per second at the limit: the operations of all products with weights at the int8 peak of the instruction set in
// use, or the bytes of weights and KV rows at the memory's read bandwidth, whichever takes longer (plan/work.h). What fits
// the caches can be faster. nullopt when the engine does not run on the CPU alone, or the limits are not known.
std::optional<double> limit_tps(const Engine& engine, const BenchRow& row, const MachineLimits& machine);

double peak_rss_mb();  // of this process so far, in MB of 1e6 bytes

}  // namespace unicorn
