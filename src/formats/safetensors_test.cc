#include "formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "formats/test_support.h"

namespace unicorn {
namespace {

using namespace formats_test;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr std::string_view kSmall =
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
    R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"n":{"dtype":"I64","shape":[],"data_offsets":[32,40]}}  )";

Result<SafetensorsFile> parse(const std::string& text) {
  static std::vector<std::unique_ptr<Exact>> kept;  // views of a good file point into it
  kept.push_back(std::make_unique<Exact>(text));
  return SafetensorsFile::parse(kept.back()->bytes(), "f.safetensors");
}

TEST(Safetensors, ReadsAFile) {
  const auto file = parse(safetensors(kSmall, 40));
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(file->tensors().entries().size(), 2u);
  const TensorEntry* a = file->tensors().find("a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->view.shape, (Shape{2, 3}));
  EXPECT_EQ(a->view.row_stride_bytes, 12u);
  EXPECT_EQ(a->view.dtype, DType::f32);
  EXPECT_EQ(a->file, "f.safetensors");
  const TensorEntry* b = file->tensors().find("b");
  EXPECT_EQ(b->view.dtype, DType::bf16);
  EXPECT_EQ(b->view.data - a->view.data, 24);
  EXPECT_THAT(file->metadata(), ElementsAre(Pair("format", "pt")));
  EXPECT_THAT(file->skipped(), ElementsAre(Pair("n", "I64")));
  EXPECT_EQ(file->tensors().find("n"), nullptr);
}

TEST(Safetensors, TellsUnalignedTensorsApart) {
  const auto file = parse(safetensors(R"({"c":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                      R"("h":{"dtype":"F16","shape":[2],"data_offsets":[1,5]}}  )",
                                      5));
  ASSERT_TRUE(file.ok()) << file.error().message;
  const TensorView& view = file->tensors().find("h")->view;
  EXPECT_EQ(is_aligned(view), reinterpret_cast<std::uintptr_t>(view.data) % 2 == 0);
}

TEST(Safetensors, ReadsScalarsGapsAndEscapedNames) {
  const auto file =
      parse(safetensors(R"({"s\u00e9\n":{"shape":[],"data_offsets":[8,12],"dtype":"F32","extra":[{}]}})", 20));
  ASSERT_TRUE(file.ok()) << file.error().message;
  const TensorEntry* s = file->tensors().find("sé\n");
  ASSERT_NE(s, nullptr);
  EXPECT_EQ(s->view.shape.rank(), 0u);
  EXPECT_EQ(s->view.row_stride_bytes, 4u);
}

TEST(Safetensors, RefusesWhatContradictsTheFormat) {
  const auto one = [](std::string_view body, std::size_t data = 64) {
    return safetensors("{\"a\":" + std::string(body) + "}", data);
  };
  const auto info = [](std::string_view dtype, std::string_view shape, std::string_view offsets) {
    return "{\"dtype\":" + std::string(dtype) + ",\"shape\":" + std::string(shape) +
           ",\"data_offsets\":" + std::string(offsets) + "}";
  };
  const auto header_of = [](std::uint64_t size) { return Bytes().put(size).raw("{}").zeros(6).str(); };
  const std::string f32 = R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  const struct {
    const char* what;
    std::string text;
    std::vector<std::string> words;
  } cases[] = {
      {"empty", "", {"0 bytes are too few"}},
      {"seven bytes", "1234567", {"7 bytes are too few"}},
      {"header past the end", header_of(9), {"header of 9 bytes expected, 8 are left"}},
      {"absurd header", header_of(~std::uint64_t{0}), {"header of 18446744073709551615 bytes"}},
      {"a GGUF file", "GGUF" + std::string(60, '\3'), {"this is a GGUF file"}},
      {"no header", safetensors("", 8), {"header is empty"}},
      {"not JSON", safetensors("{\"a\":", 8), {"header is not valid JSON"}},
      {"not UTF-8", safetensors("{\"\xff\":" + f32 + "}", 8), {"header is not valid JSON", "UTF"}},
      {"an array", safetensors("[]", 8), {"header is not a JSON object"}},
      {"deep", one(deep), {"header is not valid JSON", "too deep"}},
      {"entry not an object", one("3"), {"'a'", "not described by a JSON object"}},
      {"no dtype", one(R"({"shape":[2],"data_offsets":[0,8]})"), {"'a'", "no 'dtype'"}},
      {"no shape", one(R"({"dtype":"F32","data_offsets":[0,8]})"), {"'a'", "no 'shape'"}},
      {"no offsets", one(R"({"dtype":"F32","shape":[2]})"), {"'a'", "no 'data_offsets'"}},
      {"two dtypes", one(R"({"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8]})"), {"'a'", "two dtypes"}},
      {"dtype a number", one(info("32", "[2]", "[0,8]")), {"'a'", "'dtype'"}},
      {"shape a number", one(info("\"F32\"", "2", "[0,8]")), {"'a'", "'shape'"}},
      {"negative dimension", one(info("\"F32\"", "[-2]", "[0,8]")), {"'a'", "whole numbers"}},
      {"fractional dimension", one(info("\"F32\"", "[2.0]", "[0,8]")), {"'a'", "whole numbers"}},
      {"dimension beyond u64", one(info("\"F32\"", "[99999999999999999999]", "[0,8]")), {"JSON"}},
      {"one offset", one(info("\"F32\"", "[2]", "[0]")), {"'a'", "two whole numbers"}},
      {"three offsets", one(info("\"F32\"", "[2]", "[0,8,16]")), {"'a'", "two whole numbers"}},
      {"offsets of text", one(info("\"F32\"", "[2]", "[\"0\",\"8\"]")), {"'a'", "two whole numbers"}},
      {"backward offsets", one(info("\"F32\"", "[2]", "[8,0]")), {"'a'", "[8, 0]"}},
      {"past the end", one(info("\"F32\"", "[32]", "[0,128]")), {"'a'", "byte 128", "which has 64"}},
      {"far past the end", one(info("\"I8\"", "[2]", "[0,18446744073709551615]")), {"'a'", "which has 64"}},
      {"too few bytes", one(info("\"F32\"", "[3]", "[0,8]")), {"'a'", "8 bytes, expected 12 for F32 [3]"}},
      {"too many bytes", one(info("\"F16\"", "[3]", "[0,8]")), {"'a'", "8 bytes, expected 6"}},
      {"zero dimension", one(info("\"F32\"", "[2,0]", "[0,0]")), {"'a'", "dimension 1 is 0"}},
      {"rank 5", one(info("\"F32\"", "[1,1,1,1,2]", "[0,8]")), {"'a'", "5 dimensions"}},
      {"overflowing product",
       one(info("\"F32\"", "[4294967296,4294967296,4294967296]", "[0,8]")),
       {"'a'", "overflows"}},
      {"metadata a list", safetensors("{\"__metadata__\":[]}", 8), {"'__metadata__' is not"}},
      {"metadata of numbers", safetensors("{\"__metadata__\":{\"k\":1}}", 8), {"'k'", "not a string"}},
      {"no name", safetensors("{\"\":" + f32 + "}", 8), {"no name"}},
      {"name twice", safetensors("{\"a\":" + f32 + ",\"a\":" + f32 + "}", 8), {"'a' occurs twice"}},
      {"skipped name twice",
       safetensors(
           R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}})",
           8),
       {"'a' occurs twice"}},
      {"one name, ours and not",
       safetensors(R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[8,9]},"a":)" + f32 + "}", 16),
       {"'a' occurs twice"}},
      {"overlap",
       safetensors("{\"a\":" + f32 + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8),
       {"'a' and 'b' overlap"}},
      {"overlap with a skipped one",
       safetensors("{\"a\":" + f32 + R"(,"b":{"dtype":"I8","shape":[1],"data_offsets":[7,8]}})", 8),
       {"'a' and 'b' overlap"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    auto words = c.words;
    words.push_back("f.safetensors: ");
    expect_refusal(parse(c.text), {ErrorCode::corrupt_file, words});
  }
}

TEST(Safetensors, EveryPrefixIsAnErrorOrAFile) {
  const std::string whole = safetensors(kSmall, 40);
  for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_FALSE(parse(whole.substr(0, n)).ok()) << n;
  EXPECT_TRUE(parse(whole).ok());
}

TEST(Safetensors, EveryFlippedBitIsAnErrorOrAFile) {
  const std::string whole = safetensors(kSmall, 40);
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string broken = whole;
    broken[bit / 8] = static_cast<char>(broken[bit / 8] ^ 1 << bit % 8);
    const auto file = parse(broken);
    if (!file.ok()) continue;
    for (const TensorEntry& entry : file->tensors().entries()) {
      std::uint64_t sum = 0;
      for (std::size_t i = 0; i < entry.view.n_bytes(); ++i) sum += static_cast<std::uint64_t>(entry.view.data[i]);
      EXPECT_LE(sum, 255u);  // inside the data, zeros but for the flipped bit
    }
  }
}

// ---- folders and shards ----

using SafetensorsFolder = FolderTest;

std::string shard(std::string_view name, std::string_view dtype = "F32") {
  return safetensors(
      "{\"" + std::string(name) + R"(":{"dtype":")" + std::string(dtype) +
          R"(","shape":[2],"data_offsets":[0,8]},"other":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
      16);
}

std::string index_of(std::initializer_list<std::pair<std::string, std::string>> entries) {
  std::string text = R"({"metadata":{"total_size":16},"weight_map":{)";
  for (const auto& [name, file] : entries) text += (text.back() == '{' ? "\"" : ",\"") + name + "\":\"" + file + "\"";
  return text + "}}";
}

TEST_F(SafetensorsFolder, FollowsTheIndex) {
  write("model-1.safetensors", shard("a"));
  write("model-2.safetensors", shard("b"));
  write("model-3.safetensors", shard("n", "I32"));
  const auto index = write("model.safetensors.index.json", index_of({{"a", "model-1.safetensors"},
                                                                     {"other", "model-2.safetensors"},
                                                                     {"b", "model-2.safetensors"},
                                                                     {"n", "model-3.safetensors"}}));
  for (const auto& path : {index, folder_}) {
    const auto file = SafetensorsFile::open(path);
    ASSERT_TRUE(file.ok()) << file.error().message;
    EXPECT_EQ(file->tensors().entries().size(), 3u);  // the first shard's "other" is not the index's
    EXPECT_THAT(file->tensors().find("other")->file, HasSubstr("model-2.safetensors"));
    EXPECT_THAT(file->skipped(), ElementsAre(Pair("n", "I32")));
    EXPECT_EQ(file->tensors().files().size(), 3u);
  }
}

TEST_F(SafetensorsFolder, FindsASingleFile) {
  const auto only = write("weights.safetensors", shard("a"));
  EXPECT_TRUE(SafetensorsFile::open(only).ok());
  EXPECT_TRUE(SafetensorsFile::open(folder_).ok());
  write("more.safetensors", shard("b"));
  expect_refusal(SafetensorsFile::open(folder_), {ErrorCode::not_found, {folder_.string(), "2 .safetensors files"}});
  write("model.safetensors", shard("c"));
  const auto file = SafetensorsFile::open(folder_);
  ASSERT_TRUE(file.ok());
  EXPECT_NE(file->tensors().find("c"), nullptr);
}

TEST_F(SafetensorsFolder, NamesWhatIsMissing) {
  expect_refusal(SafetensorsFile::open(folder_), {ErrorCode::not_found, {folder_.string(), "no .safetensors file"}});
  expect_refusal(SafetensorsFile::open(folder_ / "x.safetensors"), {ErrorCode::not_found, {"x.safetensors"}});
  const auto index =
      write("model.safetensors.index.json", index_of({{"a", "s1.safetensors"}, {"b", "s2.safetensors"}}));
  write("s1.safetensors", shard("a"));
  expect_refusal(SafetensorsFile::open(index), {ErrorCode::not_found, {"s2.safetensors", "shard is missing", "'b'"}});
  write("s2.safetensors", shard("c"));
  expect_refusal(SafetensorsFile::open(index),
                 {ErrorCode::corrupt_file, {"s2.safetensors", "lacks tensor 'b'", "index.json"}});
}

TEST_F(SafetensorsFolder, StaysInsideTheFolder) {
  std::filesystem::create_directory(folder_ / "in");
  write("secret.safetensors", shard("a"));
  for (const char* escape : {"../secret.safetensors", "/etc/passwd", "..", ".", "", "in/../../secret.safetensors",
                             "in/x.safetensors", "..\\\\secret.safetensors", "x\\u0000/y"}) {
    SCOPED_TRACE(escape);
    const auto index = write("in/model.safetensors.index.json", index_of({{"a", escape}}));
    expect_refusal(SafetensorsFile::open(index),
                   {ErrorCode::corrupt_file, {"'a'", "not a file name in the index's folder"}});
  }
}

TEST_F(SafetensorsFolder, RefusesABrokenIndex) {
  const struct {
    std::string text;
    std::string word;
  } cases[] = {
      {"", "index is empty"},
      {"{", "not valid JSON"},
      {"[]", "not a JSON object"},
      {"{}", "no 'weight_map'"},
      {R"({"weight_map":[]})", "no 'weight_map'"},
      {R"({"weight_map":{"a":1}})", "'a'"},
      {index_of({{"a", "x.safetensors"}, {"a", "y.safetensors"}}), "'a' occurs twice"},
      {R"({"weight_map":)" + std::string(200, '[') + std::string(200, ']') + "}", "too deep"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text.substr(0, 60));
    const auto index = write("model.safetensors.index.json", c.text);
    expect_refusal(SafetensorsFile::open(index), {ErrorCode::corrupt_file, {"index.json", c.word}});
  }
  const auto empty = SafetensorsFile::open(write("model.safetensors.index.json", R"({"weight_map":{}})"));
  ASSERT_TRUE(empty.ok());
  EXPECT_TRUE(empty->tensors().entries().empty());
}

TEST_F(SafetensorsFolder, RefusesAHeaderAboveTheCap) {
  // A sparse file: the header's 100 MB and a byte are a hole.
  const auto path = write("big.safetensors", Bytes().put(std::uint64_t{100'000'001}).str());
  std::filesystem::resize_file(path, 100'000'100);
  expect_refusal(SafetensorsFile::open(path), {ErrorCode::unsupported, {"100000001 bytes", "at most 100000000"}});
  const auto index = write("x.index.json", "{");
  std::filesystem::resize_file(index, 100'000'100);
  expect_refusal(SafetensorsFile::open(index), {ErrorCode::unsupported, {"x.index.json", "at most 100000000"}});
}

}  // namespace
}  // namespace unicorn
