// How fast the CPU's matrix kernels are, set against what the machine can do.
//   matmul_bench --dtype q4_0,q8_0 --isa avx2 --m 1,512 --n 8192 --k 2048 --threads 2
// m = 1 reads every weight once: GB/s against the measured read bandwidth. m > 1: Gop/s (a multiply-add is two)
// against the instruction set's measured int8 peak. Each figure is the median of the runs, with the spread between the
// quarters; the answer is checked against double sums first. Memory-bound runs go round enough copies of the weights
// that none is found in a cache.
#include <fmt/format.h>
#include <time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include "backends/cpu/activation_rows.h"
#include "backends/cpu/dispatch.h"
#include "backends/cpu/kernels/random_weights.h"
#include "backends/cpu/peak.h"
#include "core/cpu_features.h"
#include "quant/block.h"

namespace unicorn::cpu {
namespace {

using Clock = std::chrono::steady_clock;

double thread_cpu_seconds() {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Options {
  std::vector<std::string> dtypes = {"q4_0", "q4_k", "q6_k", "q8_0", "bf16", "f32"};
  std::vector<std::string> isas;
  std::vector<std::size_t> ms = {1, 512};
  std::size_t n = 8192, k = 2048, threads = 2, runs = 30;
  std::size_t cold_mb = 256;
  bool pack = false, cpu_time = false;
};

struct Spread {
  double median, low, high;  // quartiles
};
Spread spread(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return {v[v.size() / 2], v[v.size() / 4], v[v.size() * 3 / 4]};
}

// max over a few outputs of |y - double sum| / (ε · Σ|terms|); huge when the kernel is wrong.
double check(const PackedMatrix& w, const std::vector<float>& x, std::size_t m, const std::vector<float>& y) {
  std::vector<float> row(w.k());
  double worst = 0;
  for (std::size_t i = 0; i < w.n(); i += w.n() / 7 + 1) {
    w.decode_row(i, row.data());
    for (std::size_t r = 0; r < m; r += m / 3 + 1) {
      double sum = 0, size = 0;
      for (std::size_t j = 0; j < w.k(); ++j) {
        sum += double{row[j]} * x[r * w.k() + j];
        size += std::abs(double{row[j]} * x[r * w.k() + j]);
      }
      worst = std::max(worst, std::abs(y[r * w.n() + i] - sum) / size);
    }
  }
  return worst;
}

int run(const Options& options) {
  ThreadPool pool(options.threads);
  fmt::print("{}; {} threads\n", cpu_features().brand, pool.size());
  const double bandwidth = measure_read_bandwidth(*runnable_kernel_tables().back(), pool);
  fmt::print("read bandwidth {:.1f} GB/s\n", bandwidth * 1e-9);
  std::vector<const KernelTable*> tables;
  for (const KernelTable* table : runnable_kernel_tables()) {
    if (options.isas.empty() ? table == runnable_kernel_tables().back()
                             : std::find(options.isas.begin(), options.isas.end(), table->name) != options.isas.end())
      tables.push_back(table);
  }
  for (const KernelTable* kernels : tables) {
    const double peak = measure_int8_peak(*kernels, pool);
    fmt::print("\n{}: int8 peak {:.0f} Gop/s\n", kernels->name, peak * 1e-9);
    for (const std::string& name : options.dtypes) {
      const auto dtype = dtype_from_name(name);
      if (!dtype) {
        fmt::print("unknown dtype '{}'\n", name);
        return 1;
      }
      const RandomWeights weights = random_weights(*dtype, options.n, options.k, 1);
      std::vector<PackedMatrix> copies;
      const auto start_pack = Clock::now();
      do {
        auto packed = PackedMatrix::pack(weights.ref(), pool);
        if (!packed.ok()) {
          fmt::print("{}\n", packed.error().message);
          return 1;
        }
        copies.push_back(std::move(*packed));
      } while (copies.size() * copies[0].resident_bytes() < options.cold_mb << 20);
      const double pack_seconds = std::chrono::duration<double>(Clock::now() - start_pack).count();
      if (options.pack)
        fmt::print("{:7} packs {:.2f} GB/s of file bytes, {:.3f} of the file's size\n", name,
                   static_cast<double>(copies.size() * weights.bytes.size()) / pack_seconds * 1e-9,
                   static_cast<double>(copies[0].resident_bytes()) / static_cast<double>(weights.bytes.size()));
      for (const std::size_t m : options.ms) {
        RandomBits random(7);
        std::vector<float> x(m * options.k), y(m * options.n);
        for (float& v : x) v = random.normal();
        const ActivationRows rows(*kernels, m, options.k);
        const ActivationView v = rows.view(x.data(), options.k, m, options.k);
        kernels->quantise_rows(v, 0, m);
        std::size_t copy = 0;
        const auto once = [&] {
          const PackedMatrix& w = copies[copy++ % copies.size()];
          std::vector<double> cpu(pool.size());
          const auto start = Clock::now();
          pool.run([&](std::size_t member) {
            const double begin = thread_cpu_seconds();
            const Slice s = slice_of(options.n, kernels->n_grain, member, pool.size());
            if (s.begin < s.end) matmul(*kernels, w, v, y.data(), options.n, s.begin, s.end);
            cpu[member] = thread_cpu_seconds() - begin;
          });
          const double wall = std::chrono::duration<double>(Clock::now() - start).count();
          return options.cpu_time ? *std::max_element(cpu.begin(), cpu.end()) : wall;
        };
        once();
        const double error = check(copies[0], x, m, y);
        if (error > 0.05) {
          fmt::print("{}: wrong answer, relative error {:.3g}\n", name, error);
          return 1;
        }
        std::vector<double> seconds;
        for (std::size_t r = 0; r < options.runs; ++r) seconds.push_back(once());
        const Spread s = spread(seconds);
        const double gbs = static_cast<double>(copies[0].resident_bytes()) / s.median * 1e-9;
        const double gops = 2.0 * static_cast<double>(m * options.n * options.k) / s.median * 1e-9;
        fmt::print(
            "{:7} {:12} m={:<4} n={} k={}  {:9.3f} ms  spread {:4.1f} %  {:6.1f} GB/s = {:3.0f} %   {:7.0f} Gop/s = "
            "{:3.0f} %\n",
            name, kernels->name, m, options.n, options.k, s.median * 1e3, 100 * (s.high - s.low) / s.median, gbs,
            100e9 * gbs / bandwidth, gops, 100e9 * gops / peak);
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace unicorn::cpu

int main(int argc, char** argv) {
  unicorn::cpu::Options options;
  CLI::App app("Times the CPU's matrix kernels against the machine's limits.");
  app.add_option("--dtype", options.dtypes)->delimiter(',');
  app.add_option("--isa", options.isas, "instruction sets; default: the best")->delimiter(',');
  app.add_option("--m", options.ms, "rows of x")->delimiter(',');
  app.add_option("--n", options.n);
  app.add_option("--k", options.k);
  app.add_option("--threads", options.threads);
  app.add_option("--runs", options.runs);
  app.add_flag("--cpu-time", options.cpu_time,
               "CPU time of the slowest thread instead of wall time, for a busy machine");
  app.add_flag("--pack", options.pack, "print the packing speed too");
  CLI11_PARSE(app, argc, argv);
  return unicorn::cpu::run(options);
}
