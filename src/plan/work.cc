#include "plan/work.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace unicorn {
namespace {

// The share of a sparse FFN's rows that at least one of n_rows rows of the batch needs.
double share_needed(const op::Ffn& ffn, double n_rows) {
  if (!ffn.sparsity_z) return 1;
  const double survives = 0.5 * std::erfc(double{*ffn.sparsity_z} / std::numbers::sqrt2);
  return 1 - std::pow(1 - survives, n_rows);
}

// Of one sequence: its rows_each rows, the last of the batch's, together read what their windows span.
double kv_rows_read(const op::Attention& attention, const BatchShape& batch, double rows_each) {
  const double end = batch.depth + static_cast<double>(batch.n_rows) / batch.n_sequences;
  return attention.window == 0 ? end : std::min(end, attention.window + rows_each - 1);
}

}  // namespace

PlanWork work_of(const Plan& plan, StepRange range, const BatchShape& batch, DType kv_dtype) {
  PlanWork work;
  for (std::uint32_t s = range.begin; s < range.end; ++s) {
    const Step& step = plan.steps[s];
    const double n_rows = step.rows == Rows::all ? batch.n_rows : batch.n_output_rows;
    if (n_rows == 0) continue;
    const auto* ffn = std::get_if<op::Ffn>(&step.op);
    for (const WeightId id : access(step).weights) {
      const WeightRef& w = plan.weights[index(id)];
      if (std::holds_alternative<op::Embed>(step.op)) {
        work.weight_bytes += std::min<double>(n_rows, static_cast<double>(w.n)) * static_cast<double>(w.row_bytes_as());
        continue;
      }
      const double needed = ffn != nullptr && id != ffn->gate ? share_needed(*ffn, n_rows) : 1;
      work.weight_bytes += needed * static_cast<double>(w.n_bytes());
      if (w.use == WeightUse::vector) continue;
      // One row of the batch multiplies what survives for it; many rows share dense products.
      work.multiply_adds += (n_rows == 1 ? needed : 1) * n_rows * static_cast<double>(w.n) * static_cast<double>(w.k);
    }
    if (const auto* attention = std::get_if<op::Attention>(&step.op)) {
      const KvLayer& layer = plan.kv_layers[attention->kv_layer];
      const double n_sequences = std::min<double>(batch.n_sequences, n_rows);
      const double row_pair = 2.0 * layer.n_kv_heads * static_cast<double>(row_bytes(kv_dtype, layer.head_dim));
      const double n_keys = attention->window == 0 ? batch.depth + n_rows / n_sequences / 2
                                                   : std::min<double>(batch.depth + 1, attention->window);
      work.attention_multiply_adds += 2 * n_rows * n_keys * attention->n_heads * layer.head_dim;
      work.kv_bytes += n_sequences * kv_rows_read(*attention, batch, n_rows / n_sequences) * row_pair;
    }
  }
  return work;
}

PlanWork work_of(const Plan& plan, const BatchShape& batch, DType kv_dtype) {
  return work_of(plan, {0, static_cast<std::uint32_t>(plan.steps.size())}, batch, kv_dtype);
}

}  // namespace unicorn
