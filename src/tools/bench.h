// bench: how fast a loaded model runs, prefill and decode apart, at several depths. Depth: tokens that are in the cache
// already. Prefill asks for the last row's logits; decode is greedy and obeys no end of answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
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
  std::uint32_t n_reps = 5;  // measured, after one warm-up
};

enum class BenchTest : std::uint8_t { prefill, decode };
std::string_view bench_test_name(BenchTest test);

struct BenchRow {
  BenchTest test;
  std::uint32_t n, depth;
  double median_tps, min_tps, max_tps;  // tokens per second
};

// Positions a sequence needs for these options: what --ctx must be at least.
std::uint64_t bench_positions(const BenchOptions& options);

// Told what is about to be measured; repetition 0 is the warm-up.
using BenchProgress =
    std::function<void(BenchTest test, std::uint32_t n, std::uint32_t depth, std::uint32_t repetition)>;

// Errors: those of Engine::forward; unsupported, when a repetition decodes other tokens than the first: then no
// number is worth printing.
Result<std::vector<BenchRow>> bench(Engine& engine, const BenchOptions& options, const BenchProgress& progress = {},
                                    const std::stop_token& stop = {});

double peak_rss_mb();  // of this process so far, in MB of 1e6 bytes

// Bytes per second that n_threads together read from memory, best of a few passes over a buffer that no cache holds.
// 0 when there is no memory for it.
double measure_read_bandwidth(std::size_t n_threads);

}  // namespace unicorn
