// The text tensors of a Gemma 3 or 3n model, by its configuration alone: names, shapes, order, and what dtype a file of
// a given type stores each one in. Whoever writes a model file starts here.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor_view.h"
#include "model/config.h"

namespace unicorn {

struct ModelTensor {
  std::string name;  // GGUF spelling without ".weight", "blk.3.ffn_down": what WeightSource calls it
  std::size_t count = 1;  // matrices of this shape: one stacked tensor in GGUF, `count` of them in Hugging Face
  std::size_t n = 1, k = 0;
  bool vector = false;  // 1-D

  std::size_t n_rows() const { return count * n; }
  Shape gguf_shape() const;
  Shape hugging_face_shape() const;  // of one of them
};

// Every tensor of the model, embeddings first, then layer by layer. A GGUF file wants the PLE table as long as the
// embedding (`for_gguf`); the rows it lacks are copies of row 0, which is what an id beyond the table looks up.
std::vector<ModelTensor> model_tensors(const ModelConfig& config, bool for_gguf);

// What a file is called after: one dtype for nearly all its matrices, or a mix with more bits where they count.
struct FileType {
  std::string name;  // "q4_0", "q4_k_m"
  DType base = DType::q4_0;
  bool more_bits = false;  // q4_k_m: attn_v and ffn_down of some layers in q6_k
  std::uint32_t gguf_id = 0;  // general.file_type
};
// Error: invalid_argument, naming those there are.
Result<FileType> file_type_from_name(std::string_view name);

// The dtype of one tensor in a GGUF of that type. The rules are those published files follow (llama.cpp's quantiser):
// vectors and AltUp coefficients stay f32, AltUp, Laurel and the PLE projection keep `source`, tables get at least six
// bits. They are those of --weights too (converted_dtype), so that both give the same numbers.
DType stored_dtype(const FileType& type, const ModelTensor& tensor, std::uint32_t n_layers, DType source);

}  // namespace unicorn
