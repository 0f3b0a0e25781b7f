// Files and numbers of other implementations: tests/data/formats/, made by scripts/make_quant_fixtures.py.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "quant/block.h"

namespace unicorn {
namespace {

const std::string kFolder = std::string(UNICORN_SOURCE_DIR) + "/tests/data/formats/";

const GgufFile& gguf_py() {
  static const Result<GgufFile> file = GgufFile::open(kFolder + "gguf_py.gguf");
  UNICORN_CHECK_MSG(file.ok(), file.ok() ? "" : file.error().message);
  return *file;
}

std::vector<float> floats_of(const TensorView& view) {
  std::vector<float> values(view.shape.n_elements());
  decode_row(view.dtype, view.data, values.data(), values.size());
  return values;
}

TEST(GgufPy, DecodesEveryBlockTypeAsItDoes) {
  int n_types = 0;
  for (const TensorEntry& entry : gguf_py().tensors().entries()) {
    if (!entry.name.starts_with("bytes.")) continue;
    SCOPED_TRACE(entry.name);
    ++n_types;
    const TensorEntry* values = gguf_py().tensors().find("values." + entry.name.substr(6));
    ASSERT_NE(values, nullptr);
    const std::vector<float> want = floats_of(values->view), got = floats_of(entry.view);
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
      if (std::isnan(want[i]))
        EXPECT_TRUE(std::isnan(got[i])) << i;
      else
        EXPECT_EQ(std::memcmp(&got[i], &want[i], sizeof(float)), 0) << i << ": " << got[i] << ", expected " << want[i];
    }
  }
  EXPECT_EQ(n_types, 13);
}

TEST(GgufPy, EncodesFixedRecipesAsItDoes) {
  const TensorEntry* x_entry = gguf_py().tensors().find("x");
  ASSERT_NE(x_entry, nullptr);
  const std::vector<float> x = floats_of(x_entry->view);
  int n_types = 0;
  for (const TensorEntry& entry : gguf_py().tensors().entries()) {
    if (!entry.name.starts_with("encoded.")) continue;
    SCOPED_TRACE(entry.name);
    ++n_types;
    ASSERT_EQ(entry.view.shape.n_elements(), x.size());
    std::vector<std::byte> got(entry.view.n_bytes());
    encode_row(entry.view.dtype, x.data(), got.data(), x.size());
    const std::size_t block_bytes = dtype_info(entry.view.dtype).block_bytes;
    for (std::size_t i = 0; i < got.size(); i += block_bytes)
      EXPECT_EQ(std::memcmp(got.data() + i, entry.view.data + i, block_bytes), 0) << "block " << i / block_bytes;
  }
  EXPECT_EQ(n_types, 6);
}

TEST(GgufPy, WritesMetadataWeRead) {
  const GgufFile& file = gguf_py();
  EXPECT_EQ(file.get_string("general.architecture"), "fixture");
  EXPECT_EQ(file.get_uint("t.u8"), 200u);
  EXPECT_EQ(file.get_float("t.i8"), -100.0);
  EXPECT_EQ(file.get_uint("t.u16"), 60000u);
  EXPECT_EQ(file.get_float("t.i16"), -30000.0);
  EXPECT_EQ(file.get_uint("t.u32"), 4000000000u);
  EXPECT_EQ(file.get_float("t.i32"), -2e9);
  EXPECT_EQ(file.get_float("t.f32"), 0.5);
  EXPECT_EQ(file.get_bool("t.bool"), true);
  EXPECT_EQ(file.get_string("t.string"), "Grüße, 世界");
  EXPECT_EQ(file.get_uint("t.u64"), ~std::uint64_t{0});
  EXPECT_EQ(std::get<std::int64_t>(*file.find("t.i64")), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(file.get_float("t.f64"), 0.1);
  EXPECT_EQ(*file.get_strings("t.strings"), (std::vector<std::string>{"", "a", "bc", "▁the"}));
  EXPECT_EQ(*file.get_numbers("t.i32s"), (std::vector<double>{-1, 0, 1}));
  EXPECT_EQ(*file.get_numbers("t.f32s"), (std::vector<double>{0.25, -0.25}));
  EXPECT_EQ(*file.get_numbers("t.bools"), (std::vector<double>{1, 0, 1}));
  EXPECT_EQ(*file.get_numbers("t.u8s"), (std::vector<double>{1, 2, 255}));
}

TEST(SafetensorsPy, WritesAFileWeRead) {
  const auto file = SafetensorsFile::open(kFolder + "safetensors_py.safetensors");
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->metadata().at("format"), "pt");
  EXPECT_EQ(file->skipped().at("count"), "I64");
  EXPECT_EQ(file->skipped().at("f8"), "F8_E4M3");
  for (const char* name : {"f32", "f16", "bf16"}) {
    SCOPED_TRACE(name);
    const TensorEntry* entry = file->tensors().find(name);
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->view.dtype, dtype_from_name(name));
    EXPECT_EQ(entry->view.shape, (Shape{2, 3}));
    EXPECT_EQ(floats_of(entry->view), (std::vector<float>{0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 2.5f}));
  }
  EXPECT_EQ(floats_of(file->tensors().find("scalar")->view), std::vector<float>{7.0f});
}

}  // namespace
}  // namespace unicorn
