// Any bytes as a safetensors file: a refusal or a table whose views lie inside the bytes.
#include "formats/safetensors.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/check.h"
#include "quant/block.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace unicorn;
  const auto file = SafetensorsFile::parse(std::as_bytes(std::span(data, size)), "fuzz.safetensors");
  if (!file.ok()) {
    UNICORN_CHECK(file.error().message.starts_with("fuzz.safetensors: ") && file.error().message.size() < 1000);
    return 0;
  }

  unsigned sum = 0;
  for (const TensorEntry& entry : file->tensors().entries()) {
    UNICORN_CHECK(file->tensors().find(entry.name) == &entry && file->skipped().count(entry.name) == 0);
    for (std::size_t i = 0; i < entry.view.n_bytes(); ++i) sum += static_cast<unsigned>(entry.view.data[i]);
    std::vector<float> row(entry.view.shape.k());
    decode_row(entry.view.dtype, entry.view.row(entry.view.shape.n_rows() - 1), row.data(), row.size());
    sum += is_aligned(entry.view) ? 1 : 0;
  }
  volatile unsigned keep = sum;
  static_cast<void>(keep);
  return 0;
}
