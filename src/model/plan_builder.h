// PlanBuilder: names tensors and weights and appends steps. Tensors are registers: a layer writes the same ones as the
// layer before, so a plan needs the memory of one layer.
#pragma once

#include <string>
#include <utility>

#include "plan/plan.h"

namespace unicorn {

class PlanBuilder {
 public:
  Plan plan;

  TensorRef tensor(std::string name, std::uint32_t width, Rows rows) {
    plan.tensors.push_back({std::move(name), width, rows});
    return {TensorId{static_cast<std::uint32_t>(plan.tensors.size() - 1)}, 0, width};
  }
  WeightId add(WeightRef weight) {
    plan.weights.push_back(std::move(weight));
    return WeightId{static_cast<std::uint32_t>(plan.weights.size() - 1)};
  }
  // The layer and row domain of the steps that follow.
  void at(std::int32_t layer, Rows rows) {
    layer_ = layer;
    rows_ = rows;
  }
  void step(Op op) { plan.steps.push_back({std::move(op), rows_, layer_}); }

 private:
  std::int32_t layer_ = -1;
  Rows rows_ = Rows::all;
};

inline TensorRef columns(const TensorRef& t, std::uint32_t offset, std::uint32_t width) {
  return {t.id, t.offset + offset, width};
}

// The KV group of a layer kind, added on first use; and the KV layer itself.
inline std::uint32_t add_kv_layer(Plan& plan, std::uint32_t window, std::uint32_t n_kv_heads, std::uint32_t head_dim) {
  std::uint32_t group = 0;
  while (group < plan.kv_groups.size() && plan.kv_groups[group].window != window) ++group;
  if (group == plan.kv_groups.size()) plan.kv_groups.push_back({window});
  plan.kv_layers.push_back({group, n_kv_heads, head_dim});
  return static_cast<std::uint32_t>(plan.kv_layers.size() - 1);
}

}  // namespace unicorn
