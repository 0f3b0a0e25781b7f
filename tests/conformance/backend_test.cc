// What every backend promises beside its numbers: how much it will hold, and that KV blocks leave and enter it whole.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "backends/registry.h"
#include "engine/executor.h"
#include "engine/kv_cache.h"
#include "engine/memory.h"
#include "engine/placement.h"
#include "tests/support/random_model.h"

namespace unicorn {
namespace {

using testing::plan_of;
using testing::random_model;
using testing::RandomModel;
using testing::RandomShape;

template <class T>
T take(Result<T> r) {
  UNICORN_CHECK_MSG(r.ok(), r.error().message);
  return std::move(r).value();
}

std::unique_ptr<Backend> backend(std::string_view name) { return take(create_backend(name, {.n_threads = 2})); }

// Widths that are no multiple of a panel or a column run, and sparse layers: every layout, with padding.
RandomShape uneven() {
  RandomShape shape;
  shape.n_vocab = 203;
  shape.d_ff = {96, 160};
  shape.tables = DType::q8_0;
  return shape;
}

Limits limits_for(const Plan& plan) {
  Limits limits;
  limits.max_rows = 16;
  limits.max_output_rows = 4;
  limits.max_positions = 64;
  limits.kv_block_tokens = 8;
  limits.kv_blocks = kv_blocks_needed(plan, 64, 16, 1, 8);
  return limits;
}

TEST(Backend, SaysBeforehandWhatAWeightWillHold) {
  const std::unique_ptr<RandomModel> model = random_model(uneven(), 1);
  for (const std::string_view name : backend_names())
    for (const std::optional<DType> as :
         {std::optional<DType>{}, std::optional(DType::q4_0), std::optional(DType::bf16)}) {
      const std::unique_ptr<Backend> device = backend(name);
      const Plan plan = plan_of(*model, as);
      for (const WeightRef& w : plan.weights)
        EXPECT_EQ(device->resident_bytes(w), take(device->prepare(w, {}))->resident_bytes()) << name << " " << w.name;
    }
}

TEST(Memory, NeededIsWhatLoadingTakes) {
  const std::unique_ptr<RandomModel> model = random_model(uneven(), 1);
  const Plan plan = plan_of(*model);
  const Limits limits = limits_for(plan);
  std::size_t one_cpu = 0;
  for (const std::string_view spec : {std::string_view("cpu"), std::string_view("reference"),
                                      std::string_view("reference,cpu"), std::string_view("cpu@0;2;4,reference")}) {
    const std::vector<PlacedRange> placement = take(place(plan, spec));
    Devices devices;
    for (const PlacedRange& p : placement) devices.try_emplace(p.device, backend(p.device));
    const MemoryNeed need = memory_needed(plan, placement, limits, devices);
    const auto executor = take(Executor::create(plan, placement, limits, std::move(devices), {}));
    EXPECT_EQ(need.weights, executor->weight_bytes()) << spec;
    EXPECT_EQ(need.kv, executor->kv_bytes()) << spec;
    if (spec == "cpu") one_cpu = need.activations;
    if (spec == "cpu@0;2;4,reference") {
      EXPECT_GT(need.activations, one_cpu) << "three programs have their scratch three times";
    }
  }
}

TEST(Placement, AutoIsTheFastestThatClaimsAll) {
  const std::unique_ptr<RandomModel> model = random_model({}, 1);
  Plan plan = plan_of(*model);
  Devices devices;
  for (const std::string_view name : backend_names()) devices.emplace(name, backend(name));
  EXPECT_EQ(fastest_device(devices, plan, limits_for(plan)), "cpu");
  plan.activation = Activation::bf16;
  EXPECT_EQ(fastest_device(devices, plan, limits_for(plan)), "reference") << "the only one that claims bf16";
  devices.erase("reference");
  EXPECT_EQ(fastest_device(devices, plan, limits_for(plan)), "");
}

TEST(Backend, EstimatesGrowWithTheWork) {
  const std::unique_ptr<RandomModel> model = random_model({}, 1);
  const Plan plan = plan_of(*model);
  const auto n = static_cast<std::uint32_t>(plan.steps.size());
  for (const std::string_view name : backend_names()) {
    const std::unique_ptr<Backend> device = backend(name);
    const double one = device->estimate(plan, {0, n}, 1, 0).seconds;
    EXPECT_GT(one, 0) << name;
    EXPECT_GT(device->estimate(plan, {0, n}, 4096, 0).seconds, one) << name;
    EXPECT_GT(device->estimate(plan, {0, n}, 1, 100000).seconds, one) << name;
    EXPECT_LT(device->estimate(plan, {0, n / 2}, 1, 0).seconds, one) << name;
  }
}

TEST(Backend, KvBlocksLeaveAndEnterWhole) {
  const KvLayer layer{0, 2, 32};
  Limits limits;
  limits.kv_block_tokens = 4;
  for (const std::string_view name : backend_names())
    for (const DType kv : {DType::f32, DType::f16, DType::q8_0}) {
      SCOPED_TRACE(std::string(name) + " " + std::string(dtype_name(kv)));
      limits.kv_dtype = kv;
      const std::size_t n = kv_block_bytes(layer, limits);
      const std::unique_ptr<Backend> device = backend(name);
      const std::unique_ptr<Buffer> buffer = take(device->allocate(3 * n, Memory::shared));
      std::vector<std::byte> in(3 * n), out(3 * n);
      for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::byte>(i * 7 + i / n);
      const auto copy = [&](std::vector<KvCopy> blocks) -> Status {
        UNICORN_ASSIGN(const Fence done, device->copy({blocks, &layer, &limits}, {}));
        return device->wait(done, kNoDeadline);
      };
      // Blocks go in at 2, 0, 1 and come out where they belong.
      ASSERT_TRUE(copy({{buffer.get(), 2, in.data(), false},
                        {buffer.get(), 0, in.data() + n, false},
                        {buffer.get(), 1, in.data() + 2 * n, false}})
                      .ok());
      ASSERT_TRUE(copy({{buffer.get(), 2, out.data(), true},
                        {buffer.get(), 0, out.data() + n, true},
                        {buffer.get(), 1, out.data() + 2 * n, true}})
                      .ok());
      EXPECT_EQ(in, out);
      for (const BlockId outside : {BlockId{3}, kNoBlock})
        for (const bool to_host : {true, false}) {
          const Status status = copy({{buffer.get(), outside, out.data(), to_host}});
          ASSERT_FALSE(status.ok());
          EXPECT_EQ(status.error().code, ErrorCode::invalid_argument);
        }
      EXPECT_EQ(in, out) << "nothing was written";
    }
}

}  // namespace
}  // namespace unicorn
