#include "plan/work.h"

#include <gtest/gtest.h>

namespace unicorn {
namespace {

// A layer of d_model 64: q · attention over a window of 8 (2 KV heads of 32), a sparse FFN of 256, a head of 100.
struct SmallPlan : Plan {
  SmallPlan() {
    const auto weight = [&](std::size_t n, std::size_t k) {
      WeightRef w;
      w.n = n;
      w.k = k;
      w.as = DType::q8_0;
      weights.push_back(w);
      return WeightId{static_cast<std::uint32_t>(weights.size() - 1)};
    };
    kv_layers = {{0, 2, 32}};
    kv_groups = {{8}};
    op::Matmul q;
    q.parts = {{weight(64, 64), {}}};
    steps.push_back({q, Rows::all, 0});
    op::Attention attention{};
    attention.window = 8;
    attention.n_heads = 4;
    steps.push_back({attention, Rows::all, 0});
    op::Ffn ffn{};
    ffn.gate = weight(256, 64), ffn.up = weight(256, 64), ffn.down = weight(64, 256);
    ffn.d_ff = 256;
    ffn.sparsity_z = 1.6448536f;  // 5 % survive
    steps.push_back({ffn, Rows::all, 0});
    op::Logits head{};
    head.w = weight(100, 64);
    steps.push_back({head, Rows::output, 1});
  }
};

constexpr double kByte = 34.0 / 32;  // of q8_0, per weight

TEST(Work, OneRowReadsTheSurvivorsOfASparseFfn) {
  const PlanWork work = work_of(SmallPlan{}, {1, 1, 1, 0}, DType::f16);
  const double weights = 64 * 64 + 256 * 64 + 0.05 * 2 * 256 * 64 + 100 * 64;
  EXPECT_NEAR(work.weight_bytes, weights * kByte, 1);
  EXPECT_NEAR(work.multiply_adds, weights, 1);
  EXPECT_EQ(work.attention_multiply_adds, 2 * 4 * 32);
  EXPECT_EQ(work.kv_bytes, 2 * 2 * 32 * 2);  // its own row: K and V of two heads in f16
}

TEST(Work, ManyRowsShareWeightsAndOnlyOutputRowsMeetTheHead) {
  const PlanWork work = work_of(SmallPlan{}, {512, 1, 1, 0}, DType::f16);
  EXPECT_NEAR(work.weight_bytes, (64 * 64 + 3 * 256 * 64 + 100 * 64) * kByte, 1);
  EXPECT_NEAR(work.multiply_adds, 512.0 * (64 * 64 + 3 * 256 * 64) + 100 * 64, 1);
  EXPECT_EQ(work_of(SmallPlan{}, {512, 0, 1, 0}, DType::f16).multiply_adds, 512.0 * (64 * 64 + 3 * 256 * 64));
}

TEST(Work, KvRowsAreBoundedByTheWindowAndReadPerSequence) {
  const double row = 2 * 2 * 32 * 2;
  EXPECT_EQ(work_of(SmallPlan{}, {1, 1, 1, 3}, DType::f16).kv_bytes, 4 * row);
  EXPECT_EQ(work_of(SmallPlan{}, {1, 1, 1, 1000}, DType::f16).kv_bytes, 8 * row);
  EXPECT_EQ(work_of(SmallPlan{}, {4, 1, 1, 1000}, DType::f16).kv_bytes, 11 * row);
  EXPECT_EQ(work_of(SmallPlan{}, {4, 4, 4, 1000}, DType::f16).kv_bytes, 4 * 8 * row);
}

TEST(Work, OutputRowsSeeWhatCameBeforeThem) {
  SmallPlan plan;
  plan.steps[1].rows = Rows::output;
  EXPECT_EQ(work_of(plan, {512, 1, 1, 0}, DType::f16).kv_bytes, 8 * 2 * 2 * 32 * 2);
}

}  // namespace
}  // namespace unicorn
