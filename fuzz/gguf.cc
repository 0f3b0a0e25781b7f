// Any bytes as a GGUF file: a refusal or a table whose views lie inside the bytes, and a model config made of it.
#include "formats/gguf.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/check.h"
#include "model/config.h"
#include "quant/block.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace unicorn;
  const auto file = GgufFile::parse(std::as_bytes(std::span(data, size)), "fuzz.gguf");
  if (!file.ok()) {
    UNICORN_CHECK(file.error().message.starts_with("fuzz.gguf: ") && file.error().message.size() < 1000);
    return 0;
  }

  unsigned sum = 0;
  for (const TensorEntry& entry : file->tensors().entries()) {
    UNICORN_CHECK(file->tensors().find(entry.name) == &entry);
    for (std::size_t i = 0; i < entry.view.n_bytes(); ++i) sum += static_cast<unsigned>(entry.view.data[i]);
    std::vector<float> row(entry.view.shape.k());
    decode_row(entry.view.dtype, entry.view.row(entry.view.shape.n_rows() - 1), row.data(), row.size());
  }
  for (const auto& [key, value] : file->metadata()) {
    UNICORN_CHECK(file->find(key) == &value && file->encoded(key) != nullptr);
    for (const std::byte b : file->encoded(key)->bytes) sum += static_cast<unsigned>(b);
    static_cast<void>(file->get_uint(key));
    static_cast<void>(file->get_float(key));
    static_cast<void>(file->get_bool(key));
    static_cast<void>(file->get_string(key));
    static_cast<void>(file->get_numbers(key));
    static_cast<void>(file->get_strings(key));
  }
  static_cast<void>(config_from_gguf(*file, "fuzz.gguf"));
  volatile unsigned keep = sum;
  static_cast<void>(keep);
  return 0;
}
