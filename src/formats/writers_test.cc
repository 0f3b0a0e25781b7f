// What the writers write, the readers read back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "formats/gguf_writer.h"
#include "formats/safetensors.h"
#include "formats/safetensors_writer.h"
#include "formats/test_support.h"
#include "quant/block.h"

namespace unicorn {
namespace {

using namespace formats_test;
using ::testing::ElementsAre;
using ::testing::Pair;

// Bytes that differ from tensor to tensor.
std::vector<std::byte> pattern(const TensorSpec& spec, std::size_t seed) {
  std::vector<std::byte> bytes(spec.shape.n_rows() * row_bytes(spec.dtype, spec.shape.k()));
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 + seed * 31 + (i >> 8));
  return bytes;
}

void expect_tensors(const TensorTable& table, const std::vector<TensorSpec>& specs) {
  ASSERT_EQ(table.entries().size(), specs.size());
  for (std::size_t i = 0; i < specs.size(); ++i) {
    SCOPED_TRACE(specs[i].name);
    const TensorEntry* entry = table.find(specs[i].name);
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->view.dtype, specs[i].dtype);
    EXPECT_EQ(entry->view.shape, specs[i].shape);
    const auto want = pattern(specs[i], i);
    ASSERT_EQ(entry->view.n_bytes(), want.size());
    EXPECT_TRUE(std::equal(want.begin(), want.end(), entry->view.data));
  }
}

// In pieces of odd sizes.
template <class Writer>
void append_all(Writer& writer, const std::vector<TensorSpec>& specs) {
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const auto bytes = pattern(specs[i], i);
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t n = std::min<std::size_t>(bytes.size() - at, 1 + (at * 13 + i * 101) % 5000);
      ASSERT_TRUE(writer.append(specs[i].name, std::span(bytes).subspan(at, n)).ok());
      at += n;
    }
  }
}

using GgufWriterTest = FolderTest;

std::vector<TensorSpec> every_dtype() {
  std::vector<TensorSpec> specs;
  for (std::size_t i = 0; i < kNDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    specs.push_back({"t." + std::string(dtype_name(dtype)), dtype, {3, 256}});
  }
  specs.push_back({"scalar", DType::f32, {}});
  specs.push_back({"odd", DType::f16, {5}});
  specs.push_back({"stack", DType::bf16, {2, 3, 4, 5}});
  return specs;
}

TEST_F(GgufWriterTest, WritesWhatTheReaderReads) {
  GgufMetadata metadata;
  metadata.set_string("general.architecture", "gemma3n");
  metadata.set_u32("u32", 7);
  metadata.set_i32("i32", -7);
  metadata.set_u64("u64", 1ull << 40);
  metadata.set_f32("f32", 0.5f);
  metadata.set_bool("bool", true);
  metadata.set_u32s("u32s", std::vector<std::uint32_t>{1, 2});
  metadata.set_i32s("i32s", std::vector<std::int32_t>{-1, 2});
  metadata.set_f32s("f32s", std::vector<float>{0.25f});
  metadata.set_bools("bools", {true, false});
  metadata.set_strings("strings", std::vector<std::string>{"", "▁the", "x"});
  metadata.set_u32("replaced", 1);
  metadata.set_string("replaced", "now text");
  metadata.set_u32("removed", 1);
  EXPECT_TRUE(metadata.remove("removed"));
  EXPECT_FALSE(metadata.remove("removed"));
  EXPECT_EQ(metadata.size(), 12u);

  const auto path = folder_ / "out.gguf";
  const auto specs = every_dtype();
  auto writer = GgufWriter::create(path, metadata, specs);
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  append_all(*writer, specs);
  EXPECT_FALSE(std::filesystem::exists(path));  // not before it is whole
  ASSERT_TRUE(writer->finish().ok());
  EXPECT_THAT(listing(), ElementsAre("out.gguf"));

  const auto file = GgufFile::open(path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  expect_tensors(file->tensors(), specs);
  for (const TensorEntry& entry : file->tensors().entries())
    EXPECT_EQ((entry.view.data - file->tensors().files()[0]->bytes().data()) % 32, 0) << entry.name;
  EXPECT_EQ(file->get_string("general.architecture"), "gemma3n");
  EXPECT_EQ(file->get_uint("u32"), 7u);
  EXPECT_EQ(file->get_float("i32"), -7.0);
  EXPECT_EQ(file->get_uint("u64"), 1ull << 40);
  EXPECT_EQ(file->get_float("f32"), 0.5);
  EXPECT_EQ(file->get_bool("bool"), true);
  EXPECT_THAT(*file->get_numbers("u32s"), ElementsAre(1, 2));
  EXPECT_THAT(*file->get_numbers("i32s"), ElementsAre(-1, 2));
  EXPECT_THAT(*file->get_numbers("f32s"), ElementsAre(0.25));
  EXPECT_THAT(*file->get_numbers("bools"), ElementsAre(1, 0));
  EXPECT_THAT(*file->get_strings("strings"), ElementsAre("", "▁the", "x"));
  EXPECT_EQ(file->get_string("replaced"), "now text");
  EXPECT_EQ(file->metadata()[11].first, "replaced");
}

TEST_F(GgufWriterTest, CopiesMetadataByteForByte) {
  const std::string other = Bytes()
                                .raw(gguf_header(0, 5).str())
                                .raw(key_u32("general.alignment", 64))
                                .raw(Bytes().text("split.count").put(std::uint32_t{2}).put(std::uint16_t{1}).str())
                                .raw(Bytes().text("u8").put(std::uint32_t{0}).put(std::uint8_t{3}).str())
                                .raw(Bytes()
                                         .text("i16s")
                                         .put(std::uint32_t{9})
                                         .put(std::uint32_t{3})
                                         .put(std::uint64_t{1})
                                         .put(std::int16_t{-2})
                                         .str())
                                .raw(key_text("text", "as it was"))
                                .str();
  const auto source = GgufFile::open(write("source.gguf", other));
  ASSERT_TRUE(source.ok()) << source.error().message;
  GgufMetadata metadata;
  metadata.copy_from(*source);
  EXPECT_EQ(metadata.size(), 3u);
  auto writer = GgufWriter::create(folder_ / "copy.gguf", metadata, {});
  ASSERT_TRUE(writer.ok() && writer->finish().ok());
  const auto copy = GgufFile::open(folder_ / "copy.gguf");
  ASSERT_TRUE(copy.ok()) << copy.error().message;
  for (const char* key : {"u8", "i16s", "text"}) {
    SCOPED_TRACE(key);
    ASSERT_NE(copy->encoded(key), nullptr);
    EXPECT_EQ(copy->encoded(key)->type, source->encoded(key)->type);
    EXPECT_TRUE(std::ranges::equal(copy->encoded(key)->bytes, source->encoded(key)->bytes));
  }
  EXPECT_EQ(copy->find("general.alignment"), nullptr);
}

TEST_F(GgufWriterTest, LeavesNothingBehindWhenGivenUp) {
  {
    auto writer = GgufWriter::create(folder_ / "out.gguf", {}, {{"a", DType::f32, {8}}});
    ASSERT_TRUE(writer.ok());
    EXPECT_EQ(listing().size(), 1u);  // the temporary
  }
  EXPECT_TRUE(listing().empty());
}

TEST_F(GgufWriterTest, RefusesTensorsNoFileCanHold) {
  const auto path = folder_ / "out.gguf";
  const auto create = [&](std::vector<TensorSpec> specs) { return GgufWriter::create(path, {}, std::move(specs)); };
  constexpr auto kInvalid = ErrorCode::invalid_argument;
  expect_refusal(create({{"a", DType::q4_0, {2, 48}}}),
                 {kInvalid, {"out.gguf", "'a'", "rows of 48", "multiple of 32"}});
  expect_refusal(create({{"a", DType::f32, {2, 0}}}), {kInvalid, {"'a'", "[2, 0]"}});
  expect_refusal(create({{"a", DType::f32, {1ull << 40, 1ull << 40}}}), {kInvalid, {"'a'"}});
  expect_refusal(
      create({{"a", DType::f32, {1ull << 61}}, {"b", DType::f32, {1ull << 61}}, {"c", DType::f32, {1ull << 61}}}),
      {kInvalid, {"too large"}});
  expect_refusal(create({{"", DType::f32, {1}}}), {kInvalid, {"without a name"}});
  expect_refusal(create({{"a\xff", DType::f32, {1}}}), {kInvalid, {"'a?'", "UTF-8"}});
  expect_refusal(create({{"a", DType::f32, {1}}, {"a", DType::f16, {1}}}), {kInvalid, {"two tensors are named 'a'"}});
  expect_refusal(GgufWriter::create(folder_ / "no" / "folder.gguf", {}, {}), {ErrorCode::io, {"folder.gguf"}});
  EXPECT_TRUE(listing().empty());
}

TEST_F(GgufWriterTest, ChecksItsCaller) {
  auto writer = GgufWriter::create(folder_ / "out.gguf", {}, {{"a", DType::f32, {2}}, {"b", DType::f32, {2}}});
  ASSERT_TRUE(writer.ok());
  const std::vector<std::byte> bytes(12);
  EXPECT_DEATH(static_cast<void>(writer->append("b", bytes)), "check failed");
  EXPECT_DEATH(static_cast<void>(writer->append("a", bytes)), "check failed");
  EXPECT_DEATH(static_cast<void>(writer->finish()), "check failed");
}

using SafetensorsWriterTest = FolderTest;

const std::vector<TensorSpec> kPlain = {
    {"model.a.weight", DType::f32, {3, 5}}, {"model.b \"quoted\" é", DType::bf16, {7}},
    {"model.c", DType::f16, {2, 2, 2}},     {"model.scalar", DType::f32, {}},
    {"model.large", DType::f32, {100, 30}}, {"model.last", DType::bf16, {1, 1}},
};

TEST_F(SafetensorsWriterTest, WritesAFileTheReaderReads) {
  auto writer = SafetensorsWriter::create(folder_ / "model.safetensors", kPlain, {{"format", "pt"}, {"by", "test"}});
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  append_all(*writer, kPlain);
  ASSERT_TRUE(writer->finish().ok());
  EXPECT_THAT(listing(), ElementsAre("model.safetensors"));
  const auto file = SafetensorsFile::open(folder_);
  ASSERT_TRUE(file.ok()) << file.error().message;
  expect_tensors(file->tensors(), kPlain);
  EXPECT_THAT(file->metadata(), ElementsAre(Pair("by", "test"), Pair("format", "pt")));
}

TEST_F(SafetensorsWriterTest, ShardsWithAnIndex) {
  auto writer = SafetensorsWriter::create_sharded(folder_, kPlain, 80, {{"format", "pt"}});
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  append_all(*writer, kPlain);
  ASSERT_TRUE(writer->finish().ok());
  // 60 + 14 | 16 + 4 | 12000 | 2
  EXPECT_THAT(listing(), ElementsAre("model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors",
                                     "model-00003-of-00004.safetensors", "model-00004-of-00004.safetensors",
                                     "model.safetensors.index.json"));
  const auto file = SafetensorsFile::open(folder_);
  ASSERT_TRUE(file.ok()) << file.error().message;
  expect_tensors(file->tensors(), kPlain);
}

TEST_F(SafetensorsWriterTest, WritesAnEmptyModel) {
  auto single = SafetensorsWriter::create(folder_ / "none.safetensors", {});
  ASSERT_TRUE(single.ok() && single->finish().ok());
  EXPECT_TRUE(SafetensorsFile::open(folder_ / "none.safetensors").ok());
  auto sharded = SafetensorsWriter::create_sharded(folder_, {}, 100);
  ASSERT_TRUE(sharded.ok() && sharded->finish().ok());
  EXPECT_TRUE(SafetensorsFile::open(folder_ / "model.safetensors.index.json").ok());
}

TEST_F(SafetensorsWriterTest, RefusesWhatTheFormatCannotHold) {
  const auto create = [&](std::vector<TensorSpec> specs) {
    return SafetensorsWriter::create(folder_ / "out.safetensors", std::move(specs));
  };
  constexpr auto kInvalid = ErrorCode::invalid_argument;
  expect_refusal(create({{"a", DType::q8_0, {32}}}), {kInvalid, {"'a' is q8_0"}});
  expect_refusal(create({{"a", DType::f32, {0}}}), {kInvalid, {"'a'", "[0]"}});
  expect_refusal(create({{"__metadata__", DType::f32, {1}}}), {kInvalid, {"__metadata__"}});
  expect_refusal(create({{"a", DType::f32, {1}}, {"a", DType::f32, {1}}}), {kInvalid, {"'a'"}});
  expect_refusal(
      create({{"a", DType::f32, {1ull << 61}}, {"b", DType::f32, {1ull << 61}}, {"c", DType::f32, {1ull << 61}}}),
      {kInvalid, {"too large"}});
  EXPECT_TRUE(listing().empty());
}

}  // namespace
}  // namespace unicorn
