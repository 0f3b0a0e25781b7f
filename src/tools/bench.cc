#include "tools/bench.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "backends/cpu/tools.h"
#include "engine/memory.h"
#include "plan/work.h"

namespace unicorn {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The same ids on every machine: splitmix64 over the vocabulary, without the first ids, which control tokens hold.
std::vector<TokenId> bench_ids(std::size_t n, std::uint32_t n_vocab) {
  const std::uint64_t first = n_vocab > 4096 ? 1024 : 0;
  std::vector<TokenId> ids(n);
  std::uint64_t state = 0;
  for (TokenId& id : ids) {
    state += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    // The tail of a multimodal vocabulary has no row in the per-layer tables: stay in the first 7/8.
    id = static_cast<TokenId>(first + z % std::max<std::uint64_t>(1, std::uint64_t{n_vocab} * 7 / 8 - first));
  }
  return ids;
}

class Bench {
 public:
  Bench(Engine& engine, std::vector<Sequence> sequences, std::uint64_t n_positions, std::stop_token stop)
      : engine_(engine),
        sequences_(std::move(sequences)),
        next_(sequences_.size()),
        ids_(bench_ids(n_positions, engine.model().n_vocab)),
        stop_(std::move(stop)) {}

  // Seconds for one repetition.
  Result<double> run(const BenchRow& row) {
    for (std::uint32_t s = 0; s < row.n_sequences; ++s) UNICORN_TRY(fill(sequences_[s], row.depth));
    return row.test == BenchTest::prefill ? prefill(row) : decode(row);
  }
  const std::vector<TokenId>& decoded() const { return decoded_; }

 private:
  // Leaves exactly the first `depth` of ids_ in the cache: what an earlier test decoded is no part of them. A sliding
  // layer may have given up rows that are needed again: then truncate() forgets all, and the whole depth is computed anew.
  Status fill(Sequence& sequence, std::uint32_t depth) {
    const std::span<const TokenId> known = sequence.ids();
    const auto differs = std::mismatch(known.begin(), known.end(), ids_.begin(), ids_.end()).first;
    const auto shared = static_cast<std::size_t>(differs - known.begin());
    const std::size_t kept = sequence.truncate(std::min<std::size_t>(shared, depth));
    if (kept == depth) return Ok{};
    const Work work{&sequence, std::span(ids_).subspan(kept, depth - kept), Outputs::none};
    return forward({&work, 1});
  }

  Result<double> prefill(const BenchRow& row) {
    const Work work{&sequences_[0], std::span(ids_).subspan(row.depth, row.n), Outputs::last};
    const auto start = Clock::now();
    UNICORN_TRY(forward({&work, 1}));
    return seconds_since(start);
  }

  Result<double> decode(const BenchRow& row) {
    decoded_.clear();
    // Each sequence goes its own way from its first token on.
    for (std::uint32_t s = 0; s < row.n_sequences; ++s) next_[s] = ids_[(row.depth + s) % ids_.size()];
    const auto start = Clock::now();
    for (std::uint32_t i = 0; i < row.n; ++i) {
      const std::vector<TokenId> ids = next_;
      std::vector<Work> work;
      for (std::uint32_t s = 0; s < row.n_sequences; ++s) work.push_back({&sequences_[s], {&ids[s], 1}, Outputs::last});
      UNICORN_TRY(forward(work));
      decoded_.insert(decoded_.end(), next_.begin(), next_.begin() + row.n_sequences);
    }
    return seconds_since(start);
  }

  Status forward(std::span<const Work> work) {
    return engine_.forward(
        work,
        [&](const RowOutput& row) {
          next_[row.work] =
              static_cast<TokenId>(std::max_element(row.logits.begin(), row.logits.end()) - row.logits.begin());
        },
        stop_);
  }

  Engine& engine_;
  std::vector<Sequence> sequences_;
  std::vector<TokenId> next_;  // by sequence
  std::vector<TokenId> ids_;
  std::stop_token stop_;
  std::vector<TokenId> decoded_;
};

double median(std::vector<double> sorted) {
  const std::size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

}  // namespace

std::string_view bench_test_name(BenchTest test) { return test == BenchTest::prefill ? "prefill" : "decode"; }

namespace {

std::uint64_t positions(const BenchOptions& options) {
  std::uint64_t n = 1, depth = 0;
  for (const auto* list : {&options.prefill, &options.decode})
    for (const std::uint32_t value : *list) n = std::max<std::uint64_t>(n, value);
  for (const std::uint32_t value : options.depths) depth = std::max<std::uint64_t>(depth, value);
  return depth + n;
}

std::uint32_t most_sequences(const BenchOptions& options) {
  std::uint32_t n = 1;
  for (const std::uint32_t value : options.sequences) n = std::max(n, value);
  return n;
}

std::vector<BenchRow> rows_of(const BenchOptions& options) {
  std::vector<BenchRow> rows;
  const auto add = [&rows](BenchTest test, std::uint32_t n, std::uint32_t depth, std::uint32_t n_sequences) {
    if (n > 0 && n_sequences > 0) rows.push_back({test, n, depth, n_sequences});
  };
  for (const std::uint32_t depth : options.depths)
    for (const std::uint32_t n : options.prefill) add(BenchTest::prefill, n, depth, 1);
  for (const std::uint32_t depth : options.depths)
    for (const std::uint32_t n : options.decode)
      for (const std::uint32_t n_sequences : options.sequences) add(BenchTest::decode, n, depth, n_sequences);
  return rows;
}

}  // namespace

void reserve_for(const BenchOptions& options, EngineOptions& engine) {
  if (engine.n_ctx == 0) engine.n_ctx = static_cast<std::uint32_t>(positions(options));
  engine.n_sequences = std::max(engine.n_sequences, most_sequences(options));
  engine.max_output_rows = std::max(engine.max_output_rows, most_sequences(options));
}

Result<std::vector<BenchRow>> bench(Engine& engine, const BenchOptions& options, const BenchProgress& progress,
                                    const std::stop_token& stop) {
  UNICORN_CHECK(options.n_reps > 0);
  const std::uint64_t n_positions = positions(options);
  if (n_positions > engine.options().n_ctx)
    return Error{ErrorCode::context_full,
                 fmt::format("the deepest test needs {} positions, the context holds {}; raise --ctx", n_positions,
                             engine.options().n_ctx)};
  std::vector<Sequence> sequences;
  for (std::uint32_t s = 0; s < most_sequences(options); ++s) {
    UNICORN_ASSIGN(Sequence sequence, engine.new_sequence());
    sequences.push_back(std::move(sequence));
  }
  Bench run(engine, std::move(sequences), n_positions, stop);

  std::vector<BenchRow> rows = rows_of(options);
  for (BenchRow& row : rows) {
    std::vector<double> tps;
    std::vector<TokenId> expected;
    for (std::uint32_t repetition = 0; repetition <= options.n_reps; ++repetition) {
      if (progress) progress(row, repetition);
      UNICORN_ASSIGN(const double seconds, run.run(row));
      if (repetition == 0) {
        expected = run.decoded();
        continue;
      }
      if (run.decoded() != expected)
        return Error{ErrorCode::unsupported,
                     fmt::format("decode {} at depth {}: repetition {} gave other tokens than the "
                                 "warm-up; the device is not deterministic",
                                 row.n, row.depth, repetition)};
      tps.push_back(static_cast<double>(row.n) * row.n_sequences / std::max(seconds, 1e-9));
    }
    std::sort(tps.begin(), tps.end());
    row.median_tps = median(tps);
    row.min_tps = tps.front();
    row.max_tps = tps.back();
  }
  return rows;
}

Result<MachineLimits> measure_limits(std::size_t n_threads) {
  if (const auto free = available_memory(); free && *free < std::size_t{1} << 30) return MachineLimits{};
  UNICORN_ASSIGN(const cpu::CpuLimits limits, cpu::measure_limits(n_threads));
  return MachineLimits{limits.int8_ops_per_s, limits.read_bytes_per_s};
}

std::optional<double> limit_tps(const Engine& engine, const BenchRow& row, const MachineLimits& machine) {
  if (engine.options().device != "cpu" || machine.int8_ops_per_s <= 0 || machine.read_bytes_per_s <= 0)
    return std::nullopt;
  const auto seconds = [&](const BatchShape& batch) {
    const PlanWork work = work_of(engine.plan(), batch, engine.options().kv);
    return std::max(2 * work.multiply_adds / machine.int8_ops_per_s, work.bytes() / machine.read_bytes_per_s);
  };
  if (row.test == BenchTest::decode)
    return row.n_sequences / seconds({row.n_sequences, row.n_sequences, row.n_sequences, row.depth + row.n / 2.0});
  double total = 0;
  for (std::uint32_t at = 0; at < row.n; at += engine.options().max_rows) {
    const std::uint32_t n = std::min(row.n - at, engine.options().max_rows);
    total += seconds({n, at + n == row.n ? 1u : 0u, 1, static_cast<double>(row.depth) + at});
  }
  return row.n / total;
}

double peak_rss_mb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024.0 / 1e6;
}

}  // namespace unicorn
