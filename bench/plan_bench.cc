// Where the time of a model's passes goes: runs a plan on the CPU backend alone and prints microseconds per kind of
// task, as member 0 of the pool sees them, for prefill chunks and decoded tokens at a depth.
//
//   plan_bench MODEL --threads 2 --prefill 512 --depth 0 --decode 32
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <iostream>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/tools.h"
#include "engine/kv_cache.h"
#include "engine/model_files.h"
#include "model/model.h"

namespace unicorn {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Options {
  std::string model, isa, kv = "f16";
  std::size_t threads = 0, prefill = 512, depth = 0, decode = 32, reps = 3, sequences = 1;
  std::uint32_t rows = 512;
  bool trace = true;
};

class Bench {
 public:
  explicit Bench(const Options& o) : o_(o) {}

  Status run() {
    const auto start = Clock::now();
    UNICORN_ASSIGN(files_, ModelFiles::open(o_.model));
    const WeightSource source(files_->table(), files_->naming(), std::nullopt);
    UNICORN_ASSIGN(plan_, build_plan(files_->config, source));
    UNICORN_ASSIGN(backend_, create_cpu_backend({o_.threads, o_.isa}));
    limits_.max_rows = std::max<std::uint32_t>(o_.rows, static_cast<std::uint32_t>(o_.sequences));
    limits_.max_sequences = static_cast<std::uint32_t>(o_.sequences);
    limits_.max_positions = static_cast<std::uint32_t>(o_.depth + o_.prefill + o_.decode + 1);
    limits_.kv_dtype = dtype_from_name(o_.kv).value_or(DType::f16);
    limits_.kv_blocks = kv_blocks_needed(plan_, limits_.max_positions, limits_.max_rows, limits_.max_sequences,
                                         limits_.kv_block_tokens);
    Placement placement;
    placement.tensors.resize(plan_.tensors.size());
    placement.kv.resize(plan_.kv_layers.size());
    for (const WeightRef& w : plan_.weights) {
      UNICORN_ASSIGN(std::unique_ptr<Weight> weight, backend_->prepare(w, {}));
      placement.weights.push_back(weight.get());
      weights_.push_back(std::move(weight));
    }
    const auto buffer = [&](Buffer*& slot, std::size_t n_bytes) -> Status {
      UNICORN_ASSIGN(std::unique_ptr<Buffer> memory, backend_->allocate(n_bytes, Memory::shared));
      slot = memory.get();
      buffers_.push_back(std::move(memory));
      return Ok{};
    };
    for (TensorId id : {plan_.hidden, plan_.logits})
      UNICORN_TRY(buffer(placement.tensors[index(id)],
                         limits_.max_output_rows * std::size_t{plan_.tensors[index(id)].width} * sizeof(float)));
    for (std::size_t l = 0; l < plan_.kv_layers.size(); ++l)
      UNICORN_TRY(buffer(placement.kv[l],
                         limits_.kv_blocks[plan_.kv_layers[l].group] * kv_block_bytes(plan_.kv_layers[l], limits_)));
    UNICORN_ASSIGN(program_,
                   backend_->compile(plan_, {0, static_cast<std::uint32_t>(plan_.steps.size())}, limits_, placement));
    fmt::print("{}\n{}\nloaded in {:.2f} s\n", files_->path.string(), backend_->info().description,
               seconds_since(start));
    pool_ = KvPool(plan_, limits_);
    for (std::size_t rep = 0; rep < o_.reps; ++rep) {
      cpu::set_tracing(*program_, o_.trace && rep + 1 == o_.reps);
      UNICORN_TRY(repeat(rep + 1 == o_.reps));
    }
    return Ok{};
  }

 private:
  Status pass(std::size_t pos, std::size_t n, bool output) {
    std::vector<Segment> segments;
    std::vector<TokenId> ids;
    std::vector<std::uint32_t> outputs;
    for (const auto& table : tables_) {
      UNICORN_TRY(table->reserve(pos, pos + n));
      const auto row = static_cast<std::uint32_t>(ids.size());
      segments.push_back({row, static_cast<std::uint32_t>(n), static_cast<std::uint32_t>(pos), table->view(), {}});
      for (std::size_t i = 0; i < n; ++i)
        ids.push_back(static_cast<TokenId>((pos + i) * 7919 % 200000 % plan_.n_vocab));
      if (output) outputs.push_back(row + static_cast<std::uint32_t>(n) - 1);
    }
    UNICORN_ASSIGN(const Fence fence, program_->submit({segments, ids, outputs}, {}, {}));
    return backend_->wait(fence, kNoDeadline);
  }

  Status prefill(std::size_t from, std::size_t n) {
    const std::size_t rows = limits_.max_rows / o_.sequences;
    for (std::size_t at = from; at < from + n; at += rows) {
      const std::size_t count = std::min(rows, from + n - at);
      UNICORN_TRY(pass(at, count, at + count == from + n));
    }
    return Ok{};
  }

  Status repeat(bool last) {
    tables_.clear();
    for (std::size_t s = 0; s < o_.sequences; ++s) tables_.push_back(std::make_unique<KvTables>(pool_));
    if (o_.depth > 0) UNICORN_TRY(prefill(0, o_.depth));
    const auto n_tokens = static_cast<double>(o_.sequences);
    if (o_.prefill > 0) {
      const auto before = entries();
      const auto start = Clock::now();
      UNICORN_TRY(prefill(o_.depth, o_.prefill));
      const double s = seconds_since(start);
      fmt::print("prefill {:5} at {:5}  {:9.2f} t/s\n", o_.prefill, o_.depth,
                 static_cast<double>(o_.prefill) * n_tokens / s);
      if (last) print(before, 1);
      for (auto& table : tables_) table->truncate(o_.depth);
    }
    if (o_.decode > 0) {
      UNICORN_TRY(pass(o_.depth, 1, true));
      const auto before = entries();
      const auto start = Clock::now();
      for (std::size_t i = 1; i < o_.decode; ++i) UNICORN_TRY(pass(o_.depth + i, 1, true));
      const double s = seconds_since(start);
      const auto n = static_cast<double>(o_.decode - 1);
      fmt::print("decode  {:5} at {:5}  {:9.2f} t/s  {} barriers\n", o_.decode, o_.depth, n * n_tokens / s,
                 cpu::trace(*program_).last_barriers);
      if (last) print(before, n);
    }
    return Ok{};
  }

  std::vector<cpu::RunTrace::Entry> entries() const { return cpu::trace(*program_).entries; }
  void print(const std::vector<cpu::RunTrace::Entry>& before, double per) const {
    std::vector<cpu::RunTrace::Entry> now = entries();
    double total = 0;
    for (auto& e : now) {
      for (const auto& b : before)
        if (b.name == e.name) e.us -= b.us, e.calls -= b.calls;
      total += e.us;
    }
    std::sort(now.begin(), now.end(), [](const auto& a, const auto& b) { return a.us > b.us; });
    for (const auto& e : now)
      if (e.calls > 0)
        fmt::print("  {:18} {:8.1f} calls {:12.1f} us {:6.2f} %\n", e.name, static_cast<double>(e.calls) / per,
                   e.us / per, 100 * e.us / total);
  }

  Options o_;
  std::optional<ModelFiles> files_;
  Plan plan_;
  std::unique_ptr<Backend> backend_;
  Limits limits_;
  std::vector<std::unique_ptr<Weight>> weights_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::unique_ptr<Program> program_;
  KvPool pool_;
  std::vector<std::unique_ptr<KvTables>> tables_;
};

}  // namespace
}  // namespace unicorn

int main(int argc, char** argv) {
  unicorn::Options options;
  CLI::App app{"Where the time of a model's passes goes, on the CPU backend"};
  app.add_option("model", options.model, "a GGUF file, or a folder with safetensors")->required();
  app.add_option("--threads", options.threads, "0: one per core");
  app.add_option("--isa", options.isa, "scalar, avx2 … (default: the best here)");
  app.add_option("--prefill", options.prefill, "tokens");
  app.add_option("--depth", options.depth, "tokens in the cache before");
  app.add_option("--decode", options.decode, "tokens");
  app.add_option("--rows", options.rows, "rows per pass");
  app.add_option("--sequences", options.sequences, "at once");
  app.add_option("--kv", options.kv, "f32, f16, bf16, q8_0");
  app.add_option("--reps", options.reps, "the last one is traced");
  app.add_flag("!--no-trace", options.trace, "time the passes alone");
  CLI11_PARSE(app, argc, argv);
  const unicorn::Status status = unicorn::Bench(options).run();
  if (status.ok()) return 0;
  std::cerr << status.error().message << '\n';
  return 1;
}
