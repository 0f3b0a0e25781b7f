// The CPU backend against the reference, step by step within derived bounds; and against itself: the same row gets the
// same bits however it is batched, threaded, chunked or cut into ranges.
#include "backends/cpu/cpu_backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>

#include "backends/cpu/dispatch.h"
#include "backends/cpu/tools.h"
#include "backends/reference/reference_backend.h"
#include "engine/kv_cache.h"
#include "tests/support/random_model.h"
#include "tests/support/step_bounds.h"
#include "tests/support/step_chain.h"

namespace unicorn {
namespace {

using testing::plan_of;
using testing::random_model;
using testing::RandomModel;
using testing::RandomShape;
using testing::StepBounds;
using testing::StepChain;

std::unique_ptr<Backend> cpu(std::size_t n_threads = 1, std::string isa = {}) {
  auto backend = create_cpu_backend({n_threads, std::move(isa)});
  UNICORN_CHECK_MSG(backend.ok(), backend.error().message);
  return std::move(backend).value();
}

// Sequences of ids with their KV tables, and batches of what comes next.
class Sequences {
 public:
  Sequences(const Plan& plan, Limits limits) : limits_(std::move(limits)) {
    limits_.kv_blocks =
        kv_blocks_needed(plan, limits_.max_positions, limits_.max_rows, limits_.max_sequences, limits_.kv_block_tokens);
    pool_ = KvPool(plan, limits_);
    for (std::uint32_t s = 0; s < limits_.max_sequences; ++s) {
      tables_.push_back(std::make_unique<KvTables>(pool_));
      n_.push_back(0);
    }
  }
  const Limits& limits() const { return limits_; }

  struct Part {
    std::size_t sequence, n_rows;
    std::vector<std::uint32_t> outputs;    // rows of this part
    std::vector<std::int32_t> parent = {}; // a draft: its rows are forgotten afterwards
  };
  // Row i of sequence s at position p has the id (p·31 + s·7) mod n_vocab: known without a list.
  Batch next(const std::vector<Part>& parts, std::size_t n_vocab) {
    segments_.clear();
    ids_.clear();
    outputs_.clear();
    for (const Part& p : parts) {
      std::size_t& n = n_[p.sequence];
      KvTables& t = *tables_[p.sequence];
      const Status status = t.reserve(n, n + p.n_rows);
      UNICORN_CHECK_MSG(status.ok(), status.error().message);
      const auto row = static_cast<std::uint32_t>(ids_.size());
      segments_.push_back(
          {row, static_cast<std::uint32_t>(p.n_rows), static_cast<std::uint32_t>(n), t.view(), p.parent});
      for (std::uint32_t o : p.outputs) outputs_.push_back(row + o);
      for (std::size_t i = 0; i < p.n_rows; ++i)
        ids_.push_back(static_cast<TokenId>(((n + i) * 31 + p.sequence * 7) % n_vocab));
      if (p.parent.empty()) n += p.n_rows;
    }
    return {segments_, ids_, outputs_};
  }

 private:
  Limits limits_;
  KvPool pool_;
  std::vector<std::unique_ptr<KvTables>> tables_;
  std::vector<std::size_t> n_;
  std::vector<Segment> segments_;
  std::vector<TokenId> ids_;
  std::vector<std::uint32_t> outputs_;
};

using Parts = std::vector<Sequences::Part>;

Limits small_limits(DType kv = DType::f32, std::uint32_t block_tokens = 4) {
  Limits limits;
  limits.max_rows = 40;
  limits.max_output_rows = 12;
  limits.max_sequences = 3;
  limits.max_positions = 600;
  limits.kv_block_tokens = block_tokens;
  limits.kv_dtype = kv;
  return limits;
}

// Prefill with and without outputs, single rows, many sequences, windows that slide past freed blocks, a draft tree.
std::vector<Parts> scenario() {
  return {
      {{0, 13, {0, 5, 12}}, {1, 5, {4}}},
      {{0, 1, {0}}, {1, 1, {0}}},
      {{2, 19, {}}},
      {{2, 6, {5}, {-1, 0, 0, 1, -1, 4}}},
      {{0, 9, {8}}, {2, 1, {0}}, {1, 17, {3, 16}}},
      {{0, 1, {0}}},
      {{0, 3, {}}, {1, 1, {}}},
      {{1, 1, {0}}, {0, 1, {}}, {2, 1, {0}}},
      {{0, 30, {29}}},
      {{0, 1, {0}}},
  };
}

class Snapshot : public testing::StepInputs {
 public:
  Snapshot(const Plan& plan, const Step& step, StepChain& chain, const Limits& limits) : plan_(plan), chain_(chain) {
    for (const TensorRef& ref : access(step).reads) {
      const TensorInfo& info = plan.tensors[index(ref.id)];
      const float* p = chain.tensor(ref.id);
      rows_[index(ref.id)].assign(
          p, p + (info.rows == Rows::all ? limits.max_rows : limits.max_output_rows) * std::size_t{info.width});
    }
  }
  const float* row(const TensorRef& ref, std::size_t r) const override {
    return rows_.at(index(ref.id)).data() + r * plan_.tensors[index(ref.id)].width + ref.offset;
  }
  const std::byte* kv(std::uint32_t layer) const override { return chain_.kv(layer).host(); }

 private:
  const Plan& plan_;
  StepChain& chain_;
  std::map<std::size_t, std::vector<float>> rows_;
};

struct Case {
  std::string name;
  RandomShape shape;
  DType kv = DType::f32;
  std::size_t n_threads = 1;
  std::string isa;
};

// Runs both backends one step at a time from the same inputs (the reference's), and compares what they write.
void expect_every_step_agrees(const Case& c) {
  const auto model = random_model(c.shape, 42);
  const Plan plan = plan_of(*model);
  Sequences sequences(plan, small_limits(c.kv));
  StepChain reference(plan, sequences.limits(), create_reference_backend());
  StepChain tested(plan, sequences.limits(), cpu(c.n_threads, c.isa));
  std::map<std::string, double> worst;  // share of the bound, by op
  for (const Parts& parts : scenario()) {
    const Batch batch = sequences.next(parts, plan.n_vocab - 5);
    const auto placed = place_rows(plan, sequences.limits(), batch);
    ASSERT_TRUE(placed.ok()) << placed.error().message;
    for (std::uint32_t s = 0; s < plan.steps.size(); ++s) {
      const Step& step = plan.steps[s];
      const std::vector<RowPlace>& rows = step.rows == Rows::all ? placed->all : placed->output;
      const StepAccess a = access(step);
      const Snapshot inputs(plan, step, reference, sequences.limits());
      const auto bounds = step_bounds(plan, step, sequences.limits(), batch, rows, inputs, true);
      reference.run(s, batch);
      tested.run(s, batch);
      for (std::size_t w = 0; w < a.writes.size(); ++w) {
        const TensorRef& ref = a.writes[w];
        for (std::size_t r = 0; r < rows.size(); ++r)
          for (std::uint32_t i = 0; i < ref.width; ++i) {
            const double want = reference.row(ref, r)[i], got = tested.row(ref, r)[i],
                         bound = bounds[w].bound[r * ref.width + i];
            // The reference rounds what it computes in double once.
            const double allowed = bound + 0x1p-24 * std::fabs(want);
            ASSERT_LE(std::fabs(got - want), allowed)
                << "step " << s << " (" << op_name(step.op) << ", layer " << step.layer << ") tensor "
                << plan.tensors[index(ref.id)].name << " row " << r << " column " << i << ": " << got << ", want "
                << want;
            if (allowed > 0) {
              double& share = worst[std::string(op_name(step.op))];
              share = std::max(share, std::fabs(got - want) / allowed);
            }
          }
        std::memcpy(tested.tensor(ref.id), reference.tensor(ref.id), tested.tensor_buffer(ref.id).n_bytes());
      }
      if (a.kv_write)
        std::memcpy(tested.kv(*a.kv_write).host(), reference.kv(*a.kv_write).host(), tested.kv(*a.kv_write).n_bytes());
    }
  }
  std::string shares;
  for (const auto& [op, share] : worst) shares += op + " " + std::to_string(share).substr(0, 6) + "  ";
  std::printf("  shares of the bounds: %s\n", shares.c_str());
}

RandomShape odd_3n() {
  RandomShape s;
  s.n_layers = 4;
  s.d_model = 72;
  s.n_heads = 3;
  s.n_kv_heads = 1;
  s.head_dim = 22;
  s.n_vocab = 133;
  s.d_ff = {96, 40, 120};
  s.window = 5;
  s.full_every = 2;
  s.n_kv_shared = 1;
  s.n_sparse = 2;
  s.ple_width = 24;
  s.laurel_rank = 20;
  s.n_streams = 3;
  s.softcap = 0;
  return s;
}

RandomShape usual_3n(DType matrices) {
  RandomShape s;
  s.d_model = 256;
  s.d_ff = {512};
  s.ple_width = 256;
  s.head_dim = 64;
  s.laurel_rank = 64;
  s.window = 8;
  s.matrices = matrices;
  s.tables = matrices == DType::f32 ? DType::f32 : DType::q6_k;
  return s;
}

RandomShape usual_3(DType matrices) {
  RandomShape s = usual_3n(matrices);
  s.family = Family::gemma3;
  s.n_layers = 4;
  s.n_kv_heads = 4;
  s.softcap = 0;
  s.rope_full = {1e6f, 1.0f / 8};
  return s;
}

std::vector<Case> cases() {
  std::vector<Case> list;
  std::vector<const cpu::KernelTable*> tables = cpu::runnable_kernel_tables();
#if defined(__SANITIZE_THREAD__)
  tables.erase(tables.begin(), tables.end() - 1);  // threads meet in the same way whatever the instructions
#endif
  for (const cpu::KernelTable* t : tables) {
    const std::string isa = t->name;
    list.push_back({isa + "_odd_3n_f32", odd_3n(), DType::f32, 1, isa});
    list.push_back({isa + "_3n_q4_0_kv_q8_0", usual_3n(DType::q4_0), DType::q8_0, 2, isa});
    list.push_back({isa + "_3_q4_k_kv_f16", usual_3(DType::q4_k), DType::f16, 3, isa});
  }
  list.push_back({"3n_bf16_kv_bf16", usual_3n(DType::bf16), DType::bf16, 4, {}});
  list.push_back({"3_q8_0_kv_f32", usual_3(DType::q8_0), DType::f32, 2, {}});
  return list;
}

class EveryStep : public ::testing::TestWithParam<Case> {};
TEST_P(EveryStep, AgreesWithTheReference) { expect_every_step_agrees(GetParam()); }
INSTANTIATE_TEST_SUITE_P(Cpu, EveryStep, ::testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.name; });

// ---- the same row, the same bits ----

using Logits = std::map<std::pair<std::size_t, std::size_t>, std::vector<float>>;  // by sequence and position

struct Variant {
  std::string name;
  std::size_t n_threads = 1;
  std::size_t chunk = 64;        // rows per pass of one sequence
  bool together = false;         // all sequences in one batch
  bool every_row = false;        // all rows are output rows
  bool step_by_step = false;     // a program per step
};

constexpr std::size_t kLengths[] = {61, 17, 34};

Logits run_variant(const Plan& plan, const Variant& v, DType kv) {
  Limits limits = small_limits(kv, 8);
  limits.max_rows = limits.max_output_rows = 200;
  Sequences sequences(plan, limits);
  StepChain chain(plan, sequences.limits(), cpu(v.n_threads), !v.step_by_step);
  Logits logits;
  std::size_t done[3] = {};
  const auto pass = [&](const std::vector<std::size_t>& which) {
    Parts parts;
    std::vector<std::pair<std::size_t, std::size_t>> keys;
    for (std::size_t s : which) {
      const std::size_t n = std::min(v.chunk, kLengths[s] - done[s]);
      if (n == 0) continue;
      Sequences::Part part{s, n, {}};
      for (std::size_t i = 0; i < n; ++i) {
        if (!v.every_row && i + 1 < n && (done[s] + i) % 5 != 2) continue;
        part.outputs.push_back(static_cast<std::uint32_t>(i));
        keys.emplace_back(s, done[s] + i);
      }
      done[s] += n;
      parts.push_back(std::move(part));
    }
    const Batch batch = sequences.next(parts, plan.n_vocab - 5);
    chain.run_all(batch);
    for (std::size_t i = 0; i < keys.size(); ++i) logits[keys[i]] = chain.logits(i);
  };
  if (v.together)
    while (done[0] < kLengths[0]) pass({0, 1, 2});
  else
    for (std::size_t s : {1u, 0u, 2u})
      while (done[s] < kLengths[s]) pass({s});
  return logits;
}

class SameBitsOfTheCpu : public ::testing::TestWithParam<Case> {};

TEST_P(SameBitsOfTheCpu, HoweverTheRowIsComputed) {
  const auto model = random_model(GetParam().shape, 7);
  const Plan plan = plan_of(*model);
  const Logits want = run_variant(plan, {.name = "whole", .every_row = true}, GetParam().kv);
  const Variant variants[] = {
      {.name = "token by token", .chunk = 1},
      {.name = "token by token, 3 threads", .n_threads = 3, .chunk = 1},
      {.name = "two rows, 2 threads", .n_threads = 2, .chunk = 2},
      {.name = "chunks of 7, 4 threads", .n_threads = 4, .chunk = 7, .every_row = true},
      {.name = "chunks of 16, few outputs", .n_threads = 2, .chunk = 16},
      {.name = "all sequences at once", .n_threads = 3, .chunk = 20, .together = true},
      {.name = "decode of all sequences at once", .n_threads = 2, .chunk = 1, .together = true},
      {.name = "a range per step", .n_threads = 2, .chunk = 13, .step_by_step = true},
      {.name = "a range per step, token by token", .chunk = 1, .step_by_step = true},
  };
  for (const Variant& v : variants) {
    SCOPED_TRACE(v.name);
    const Logits got = run_variant(plan, v, GetParam().kv);
    ASSERT_FALSE(got.empty());
    for (const auto& [key, logits] : got) {
      const auto it = want.find(key);
      ASSERT_NE(it, want.end());
      ASSERT_EQ(std::memcmp(logits.data(), it->second.data(), logits.size() * sizeof(float)), 0)
          << "sequence " << key.first << ", position " << key.second;
    }
  }
}

std::vector<Case> bit_cases() {
  return {{"odd_3n_f32", odd_3n(), DType::f32, 1, {}},
          {"3n_q4_0_kv_q8_0", usual_3n(DType::q4_0), DType::q8_0, 1, {}},
          {"3n_q4_k_kv_f16", usual_3n(DType::q4_k), DType::f16, 1, {}},
          {"3_bf16_kv_bf16", usual_3(DType::bf16), DType::bf16, 1, {}},
          {"3_q8_0_kv_f16", usual_3(DType::q8_0), DType::f16, 1, {}}};
}
INSTANTIATE_TEST_SUITE_P(Cpu, SameBitsOfTheCpu, ::testing::ValuesIn(bit_cases()),
                         [](const auto& test) { return test.param.name; });

// A full context of 600 positions: keys are summed in several chunks, which members share out.
TEST(CpuAttention, LongContextsGiveTheSameBitsOnAnyNumberOfThreads) {
  RandomShape shape = usual_3(DType::q8_0);
  shape.window = 300;
  const auto model = random_model(shape, 3);
  const Plan plan = plan_of(*model);
  std::vector<std::vector<float>> want;
  for (std::size_t n_threads : {1u, 2u, 4u}) {
    Limits limits = small_limits(DType::f16, 32);
    limits.max_rows = 600;
    Sequences sequences(plan, limits);
    StepChain chain(plan, sequences.limits(), cpu(n_threads), true);
    std::vector<std::vector<float>> got;
    // 590 at once on one thread, in chunks of 64 on others; then token by token.
    const std::size_t chunk = n_threads == 1 ? 590 : 64;
    for (std::size_t at = 0; at < 590; at += chunk) {
      const std::size_t n = std::min<std::size_t>(chunk, 590 - at);
      const bool last = at + n == 590;
      chain.run_all(sequences.next(
          {{0, n, last ? std::vector<std::uint32_t>{static_cast<std::uint32_t>(n - 1)} : std::vector<std::uint32_t>{}}},
          150));
      if (last) got.push_back(chain.logits(0));
    }
    for (int i = 0; i < 4; ++i) {
      chain.run_all(sequences.next({{0, 1, {0}}}, 150));
      got.push_back(chain.logits(0));
    }
    if (want.empty()) want = got;
    EXPECT_EQ(got, want) << n_threads << " threads";
  }
}

// ---- the program ----

TEST(CpuProgram, ADecodedTokenOfE2bsLayersNeedsFewBarriers) {
  RandomShape shape;
  shape.n_layers = 30;
  shape.full_every = 5;
  shape.n_kv_shared = 10;
  shape.n_sparse = 10;
  const auto model = random_model(shape, 1);
  const Plan plan = plan_of(*model);
  Limits limits = small_limits(DType::f16, 32);
  Sequences sequences(plan, limits);
  StepChain chain(plan, sequences.limits(), cpu(2), true);
  for (std::size_t i = 0; i < 3; ++i) chain.run_all(sequences.next({{0, 1, {0}}}, 150));
  EXPECT_LE(cpu::trace(chain.program(0)).last_barriers, 250u);
  std::printf("  %llu barriers per decoded token\n",
              static_cast<unsigned long long>(cpu::trace(chain.program(0)).last_barriers));
}

TEST(CpuProgram, RefusesBatchesBeyondItsLimits) {
  const auto model = random_model(usual_3(DType::q8_0), 1);
  const Plan plan = plan_of(*model);
  Sequences sequences(plan, small_limits());
  auto backend = cpu();
  StepChain chain(plan, sequences.limits(), std::move(backend), true);
  const Batch good = sequences.next({{0, 5, {4}}}, 100);
  std::vector<TokenId> ids(good.ids.begin(), good.ids.end());
  std::vector<Segment> segments(good.segments.begin(), good.segments.end());
  const auto refused = [&](const Batch& batch) {
    const auto fence = chain.program(0).submit(batch, {}, {});
    return !fence.ok() && fence.error().code == ErrorCode::invalid_argument;
  };
  ids[2] = static_cast<TokenId>(plan.n_vocab);
  EXPECT_TRUE(refused({segments, ids, good.output_rows}));
  ids[2] = 1;
  const std::vector<std::uint32_t> outside = {5};
  EXPECT_TRUE(refused({segments, ids, outside}));
  std::vector<BlockId> bad_blocks(good.segments[0].kv[0].begin(), good.segments[0].kv[0].end());
  bad_blocks[0] = 100000;
  std::vector<std::span<const BlockId>> tables(good.segments[0].kv.begin(), good.segments[0].kv.end());
  tables[0] = bad_blocks;
  segments[0].kv = tables;
  EXPECT_TRUE(refused({segments, ids, good.output_rows}));
  EXPECT_FALSE(refused(good));
}

TEST(CpuProgram, RefusesWhatItCannotRun) {
  const auto model = random_model(usual_3(DType::q8_0), 1);
  Plan plan = plan_of(*model);
  auto backend = cpu();
  Limits limits = small_limits();
  limits.kv_blocks = {4, 4};
  Placement nothing;
  const auto n = static_cast<std::uint32_t>(plan.steps.size());
  EXPECT_EQ(backend->compile(plan, {0, n}, limits, nothing).error().code, ErrorCode::invalid_argument);
  plan.activation = Activation::bf16;
  EXPECT_TRUE(backend->claims(plan, limits).empty());
  EXPECT_EQ(backend->compile(plan, {0, n}, limits, nothing).error().code, ErrorCode::unsupported);
}

}  // namespace
}  // namespace unicorn
