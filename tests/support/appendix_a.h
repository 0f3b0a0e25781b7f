// The generated tiny Gemma 3n whose weights are a hash of their names: it exercises every path (sparse and dense layers,
// both RoPE bases, the window, shared K/V, AltUp, Laurel, PLE) and needs no file. Its published rows, worked out in
// double precision by an independent implementation, are the expected values of the tests that use it.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "formats/tensor_table.h"
#include "model/config.h"

namespace unicorn::testing {

struct TinyModel {
  ModelConfig config;
  TensorTable table;  // GGUF names
  std::vector<std::vector<float>> storage;  // what the table's views look at
};

// sample_std: llama.cpp's n-1 in the sparse gate instead of Hugging Face's n.
std::unique_ptr<TinyModel> appendix_a_model(bool sample_std);

inline constexpr std::array<std::int32_t, 20> kAppendixAIds = {2,  48, 85,  122, 159, 196, 233, 270, 307, 24,
                                                               61, 98, 135, 172, 209, 246, 283, 0,   37,  74};

}  // namespace unicorn::testing
