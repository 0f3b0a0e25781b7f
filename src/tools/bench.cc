#include "tools/bench.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <new>

#include "core/thread_pool.h"

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
  Bench(Engine& engine, Sequence sequence, std::uint64_t n_positions, std::stop_token stop)
      : engine_(engine),
        sequence_(std::move(sequence)),
        ids_(bench_ids(n_positions, engine.model().n_vocab)),
        stop_(std::move(stop)) {}

  // Seconds for one repetition.
  Result<double> run(BenchTest test, std::uint32_t n, std::uint32_t depth) {
    UNICORN_TRY(fill(depth));
    return test == BenchTest::prefill ? prefill(n, depth) : decode(n, depth);
  }
  const std::vector<TokenId>& decoded() const { return decoded_; }

 private:
  // Leaves exactly the first `depth` of ids_ in the cache: what an earlier test decoded is no part of them. A sliding
  // layer may have given up rows that are needed again: then truncate() forgets all, and the whole depth is computed anew.
  Status fill(std::uint32_t depth) {
    const std::span<const TokenId> known = sequence_.ids();
    const auto differs = std::mismatch(known.begin(), known.end(), ids_.begin(), ids_.end()).first;
    const auto shared = static_cast<std::size_t>(differs - known.begin());
    const std::size_t kept = sequence_.truncate(std::min<std::size_t>(shared, depth));
    if (kept == depth) return Ok{};
    return forward(std::span(ids_).subspan(kept, depth - kept), Outputs::none);
  }

  Result<double> prefill(std::uint32_t n, std::uint32_t depth) {
    const auto start = Clock::now();
    UNICORN_TRY(forward(std::span(ids_).subspan(depth, n), Outputs::last));
    return seconds_since(start);
  }

  Result<double> decode(std::uint32_t n, std::uint32_t depth) {
    decoded_.clear();
    next_ = ids_[depth];
    const auto start = Clock::now();
    for (std::uint32_t i = 0; i < n; ++i) {
      const TokenId id = next_;
      UNICORN_TRY(forward({&id, 1}, Outputs::last));
      decoded_.push_back(next_);
    }
    return seconds_since(start);
  }

  Status forward(std::span<const TokenId> ids, Outputs outputs) {
    const Work work{&sequence_, ids, outputs};
    return engine_.forward(
        {&work, 1},
        [&](const RowOutput& row) {
          next_ = static_cast<TokenId>(std::max_element(row.logits.begin(), row.logits.end()) - row.logits.begin());
        },
        stop_);
  }

  Engine& engine_;
  Sequence sequence_;
  std::vector<TokenId> ids_;
  std::stop_token stop_;
  TokenId next_ = 0;
  std::vector<TokenId> decoded_;
};

double median(std::vector<double> sorted) {
  const std::size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

}  // namespace

std::string_view bench_test_name(BenchTest test) { return test == BenchTest::prefill ? "prefill" : "decode"; }

std::uint64_t bench_positions(const BenchOptions& options) {
  std::uint64_t n = 1, depth = 0;
  for (const auto* list : {&options.prefill, &options.decode})
    for (const std::uint32_t value : *list) n = std::max<std::uint64_t>(n, value);
  for (const std::uint32_t value : options.depths) depth = std::max<std::uint64_t>(depth, value);
  return depth + n;
}

Result<std::vector<BenchRow>> bench(Engine& engine, const BenchOptions& options, const BenchProgress& progress,
                                    const std::stop_token& stop) {
  UNICORN_CHECK(options.n_reps > 0);
  const std::uint64_t n_positions = bench_positions(options);
  if (n_positions > engine.options().n_ctx)
    return Error{ErrorCode::context_full,
                 fmt::format("the deepest test needs {} positions, the context holds {}; raise --ctx", n_positions,
                             engine.options().n_ctx)};
  UNICORN_ASSIGN(Sequence sequence, engine.new_sequence());
  Bench run(engine, std::move(sequence), n_positions, stop);

  std::vector<BenchRow> rows;
  for (const BenchTest test : {BenchTest::prefill, BenchTest::decode}) {
    for (const std::uint32_t depth : options.depths) {
      for (const std::uint32_t n : test == BenchTest::prefill ? options.prefill : options.decode) {
        if (n == 0) continue;
        std::vector<double> tps;
        std::vector<TokenId> expected;
        for (std::uint32_t repetition = 0; repetition <= options.n_reps; ++repetition) {
          if (progress) progress(test, n, depth, repetition);
          UNICORN_ASSIGN(const double seconds, run.run(test, n, depth));
          if (repetition == 0) {
            expected = run.decoded();
            continue;
          }
          if (run.decoded() != expected)
            return Error{ErrorCode::unsupported,
                         fmt::format("decode {} at depth {}: repetition {} gave other tokens than the "
                                     "warm-up; the device is not deterministic",
                                     n, depth, repetition)};
          tps.push_back(static_cast<double>(n) / std::max(seconds, 1e-9));
        }
        std::sort(tps.begin(), tps.end());
        rows.push_back({test, n, depth, median(tps), tps.front(), tps.back()});
      }
    }
  }
  return rows;
}

double peak_rss_mb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024.0 / 1e6;
}

double measure_read_bandwidth(std::size_t n_threads) {
  constexpr std::size_t kWords = std::size_t{256} << 20 >> 3;  // 256 MiB: beyond any last-level cache we know of
  constexpr int kPasses = 4;
  const std::unique_ptr<std::uint64_t[]> words(new (std::nothrow) std::uint64_t[kWords]);
  if (words == nullptr) return 0;
  ThreadPool pool(std::max<std::size_t>(n_threads, 1));
  const auto part = [&](std::size_t member) { return slice_of(kWords, 512, member, pool.size()); };
  pool.run([&](std::size_t member) {  // each thread touches its own pages first
    const Slice s = part(member);
    for (std::size_t i = s.begin; i < s.end; ++i) words[i] = i;
  });
  std::atomic<std::uint64_t> used{0};  // the sums are wanted by somebody, so the reads happen
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = Clock::now();
    pool.run([&](std::size_t member) {
      const Slice s = part(member);
      std::uint64_t sums[8] = {};
      for (std::size_t i = s.begin; i + 8 <= s.end; i += 8)
        for (std::size_t l = 0; l < 8; ++l) sums[l] += words[i + l];
      used += sums[0] ^ sums[1] ^ sums[2] ^ sums[3] ^ sums[4] ^ sums[5] ^ sums[6] ^ sums[7];
    });
    best = std::max(best, static_cast<double>(kWords * sizeof(std::uint64_t)) / seconds_since(start));
  }
  return best;
}

}  // namespace unicorn
