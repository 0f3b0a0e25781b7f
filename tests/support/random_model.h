// Random Gemma 3n and Gemma 3 models of any shape and dtype, as tables of GGUF-named tensors: for tests that need every
// path and no file.
#pragma once

#include <memory>
#include <vector>

#include "formats/tensor_table.h"
#include "model/config.h"

namespace unicorn::testing {

struct RandomShape {
  Family family = Family::gemma3n;
  std::uint32_t n_layers = 5, d_model = 64, n_heads = 4, n_kv_heads = 2, head_dim = 32, n_vocab = 200;
  std::vector<std::uint32_t> d_ff = {96};  // by layer; the last one repeats
  std::uint32_t window = 8, full_every = 3;  // layer l is full when (l + 1) % full_every == 0
  float softcap = 30.0f;
  Rope rope_full{1e6f, 1.0f}, rope_sliding{1e4f, 1.0f};
  // Gemma 3n
  std::uint32_t n_kv_shared = 2, n_sparse = 2, ple_width = 32, laurel_rank = 32, n_streams = 4;
  bool sample_std = false;
  // How matrices are stored; embedding and PLE table; vectors are f32.
  DType matrices = DType::f32, tables = DType::f32;
};

struct RandomModel {
  ModelConfig config;
  TensorTable table;
  std::vector<std::vector<std::byte>> storage;  // what the table's views look at
};

std::unique_ptr<RandomModel> random_model(const RandomShape& shape, std::uint64_t seed);

// The model's plan, looking into the model. `requested`: as --weights.
Plan plan_of(const RandomModel& model, std::optional<DType> requested = std::nullopt);

}  // namespace unicorn::testing
