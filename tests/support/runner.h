// Runs a plan on named devices without an engine around it: sequences are lists of ids, results are vectors.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "backends/registry.h"
#include "engine/executor.h"
#include "engine/kv_cache.h"

namespace unicorn::testing {

// Keeps the latest values of chosen tensors: key "layer/op/tensor".
class Recorder : public StepObserver {
 public:
  explicit Recorder(const Plan& plan) : plan_(plan) {}
  void on_step(std::uint32_t step, TensorId tensor, std::span<const float> values, std::size_t) override {
    const Step& s = plan_.steps[step];
    seen_[std::to_string(s.layer) + "/" + std::string(op_name(s.op)) + "/" + plan_.tensors[index(tensor)].name] = {
        values.begin(), values.end()};
    order_.emplace_back(step, std::vector<float>(values.begin(), values.end()));
  }
  const std::vector<float>& at(const std::string& key) const {
    const auto it = seen_.find(key);
    EXPECT_NE(it, seen_.end()) << "no step wrote " << key;
    static const std::vector<float> kNone;
    return it == seen_.end() ? kNone : it->second;
  }
  const std::vector<std::pair<std::uint32_t, std::vector<float>>>& order() const { return order_; }

 private:
  const Plan& plan_;
  std::map<std::string, std::vector<float>> seen_;
  std::vector<std::pair<std::uint32_t, std::vector<float>>> order_;
};

class Runner {
 public:
  struct Options {
    std::string device = "reference";
    std::uint32_t max_rows = 64, max_output_rows = 64, max_positions = 64, max_sequences = 1;
    DType kv = DType::f32;
    std::size_t n_threads = 1;
  };

  Runner(const Plan& plan, const Options& options) : plan_(plan) {
    limits_.max_rows = options.max_rows;
    limits_.max_output_rows = options.max_output_rows;
    limits_.max_sequences = options.max_sequences;
    limits_.max_positions = options.max_positions;
    limits_.kv_block_tokens = 8;  // small: windows and tables cross many borders
    limits_.kv_dtype = options.kv;
    limits_.kv_blocks =
        kv_blocks_needed(plan, options.max_positions, options.max_rows, options.max_sequences, limits_.kv_block_tokens);
    pool_ = KvPool(plan, limits_);
    auto placement = place(plan, options.device);
    UNICORN_CHECK_MSG(placement.ok(), placement.error().message);
    Devices devices;
    for (const PlacedRange& p : *placement) {
      auto device = create_backend(p.device, {options.n_threads});
      UNICORN_CHECK_MSG(device.ok(), device.error().message);
      devices.try_emplace(p.device, std::move(device).value());
    }
    auto executor = Executor::create(plan, *placement, limits_, std::move(devices), {});
    UNICORN_CHECK_MSG(executor.ok(), executor.error().message);
    executor_ = std::move(executor).value();
    for (std::uint32_t i = 0; i < options.max_sequences; ++i) {
      tables_.push_back(std::make_unique<KvTables>(pool_));
      n_.push_back(0);
    }
  }

  struct Chunk {
    std::size_t sequence;
    std::vector<TokenId> ids;
    std::vector<std::size_t> outputs;  // rows of the chunk whose logits are wanted
  };

  // One pass; the logits of every wanted row, in order.
  std::vector<std::vector<float>> run(const std::vector<Chunk>& chunks, StepObserver* observer = nullptr) {
    std::vector<Segment> segments;
    std::vector<TokenId> ids;
    std::vector<std::uint32_t> outputs;
    for (const Chunk& c : chunks) {
      KvTables& t = *tables_[c.sequence];
      const Status status = t.reserve(n_[c.sequence], n_[c.sequence] + c.ids.size());
      UNICORN_CHECK_MSG(status.ok(), status.error().message);
      const auto row = static_cast<std::uint32_t>(ids.size());
      segments.push_back(
          {row, static_cast<std::uint32_t>(c.ids.size()), static_cast<std::uint32_t>(n_[c.sequence]), t.view(), {}});
      for (std::size_t o : c.outputs) outputs.push_back(row + static_cast<std::uint32_t>(o));
      ids.insert(ids.end(), c.ids.begin(), c.ids.end());
      n_[c.sequence] += c.ids.size();
    }
    const Status status = executor_->run({segments, ids, outputs}, observer);
    UNICORN_CHECK_MSG(status.ok(), status.error().message);
    std::vector<std::vector<float>> logits;
    for (std::size_t o = 0; o < outputs.size(); ++o) {
      const std::span<const float> row = executor_->logits(o);
      logits.emplace_back(row.begin(), row.end());
    }
    return logits;
  }

  // A whole sequence in one pass, every row an output.
  std::vector<std::vector<float>> run_all(std::span<const TokenId> ids, StepObserver* observer = nullptr) {
    std::vector<std::size_t> outputs(ids.size());
    std::iota(outputs.begin(), outputs.end(), std::size_t{0});
    return run({{0, {ids.begin(), ids.end()}, outputs}}, observer);
  }

 private:
  const Plan& plan_;
  Limits limits_;
  KvPool pool_;
  std::unique_ptr<Executor> executor_;
  std::vector<std::unique_ptr<KvTables>> tables_;
  std::vector<std::size_t> n_;
};

}  // namespace unicorn::testing
