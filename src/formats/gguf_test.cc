#include "formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "formats/ggml_type.h"
#include "formats/test_support.h"
#include "formats/text.h"

namespace unicorn {
namespace {

using namespace formats_test;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::uint32_t kF32 = 0, kF16 = 1, kQ4_0 = 2;
constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();

// Two keys, a 2 × 8 f32 matrix and a 1 × 32 q4_0 one.
std::string small_file(std::uint32_t version = 3) {
  return gguf_header(2, 2, version)
      .raw(key_text("general.architecture", "gemma3n"))
      .raw(key_u32("gemma3n.block_count", 30))
      .raw(tensor_info("a", {8, 2}, kF32, 0))
      .raw(tensor_info("b", {32, 1}, kQ4_0, 64))
      .pad(32)
      .zeros(64 + 18)
      .str();
}

Result<GgufFile> parse(const std::string& text) {
  static std::vector<std::unique_ptr<Exact>> kept;  // views of a good file point into it
  kept.push_back(std::make_unique<Exact>(text));
  return GgufFile::parse(kept.back()->bytes(), "f.gguf");
}

TEST(Gguf, ReadsVersionsTwoAndThree) {
  for (const std::uint32_t version : {2u, 3u}) {
    const auto file = parse(small_file(version));
    ASSERT_TRUE(file.ok()) << file.error().message;
    EXPECT_EQ(file->version(), version);
    EXPECT_EQ(file->get_string("general.architecture"), "gemma3n");
    EXPECT_EQ(file->get_uint("gemma3n.block_count"), 30u);
    ASSERT_EQ(file->tensors().entries().size(), 2u);
    const TensorEntry* a = file->tensors().find("a");
    ASSERT_NE(a, nullptr);
    EXPECT_EQ(a->view.shape, (Shape{2, 8}));  // outermost first
    EXPECT_EQ(a->view.dtype, DType::f32);
    EXPECT_EQ(a->view.row_stride_bytes, 32u);
    EXPECT_EQ(a->file, "f.gguf");
    const TensorEntry* b = file->tensors().find("b");
    ASSERT_NE(b, nullptr);
    EXPECT_EQ(b->view.data - a->view.data, 64);
    EXPECT_EQ(b->view.n_bytes(), 18u);
    EXPECT_TRUE(is_aligned(b->view));
    EXPECT_EQ(file->tensors().find("c"), nullptr);
  }
}

TEST(Gguf, ReadsAFileWithoutTensors) {
  const auto file = parse(gguf_header(0, 1).raw(key_u32("k", 1)).str());  // no padding after the metadata
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_TRUE(file->tensors().entries().empty());
}

TEST(Gguf, ReadsEveryValueType) {
  const auto kv = [](std::string_view key, std::uint32_t type, auto value) {
    return Bytes().text(key).put(type).put(value).str();
  };
  const auto array = [](std::string_view key, std::uint32_t type, std::uint64_t n) {
    return Bytes().text(key).put(std::uint32_t{9}).put(type).put(n);
  };
  const auto file =
      parse(gguf_header(0, 19)
                .raw(kv("u8", 0, std::uint8_t{200}))
                .raw(kv("i8", 1, std::int8_t{-100}))
                .raw(kv("u16", 2, std::uint16_t{60000}))
                .raw(kv("i16", 3, std::int16_t{-30000}))
                .raw(kv("u32", 4, std::uint32_t{4000000000u}))
                .raw(kv("i32", 5, std::int32_t{-2000000000}))
                .raw(kv("f32", 6, 15.0f))
                .raw(kv("bool", 7, std::uint8_t{1}))
                .raw(key_text("text", "\xff any bytes"))
                .raw(kv("u64", 10, kHuge))
                .raw(kv("i64", 11, std::int64_t{7}))
                .raw(kv("f64", 12, 0.1))
                .raw(array("u8s", 0, 2).put(std::uint8_t{1}).put(std::uint8_t{255}).str())
                .raw(array("i32s", 5, 2).put(-1).put(2).str())
                .raw(array("f32s", 6, 1).put(-std::numeric_limits<float>::infinity()).str())
                .raw(array("bools", 7, 3).put(std::uint8_t{1}).put(std::uint8_t{0}).put(std::uint8_t{1}).str())
                .raw(array("texts", 8, 3).text("").text("a").text("\xe2\x96\x81the").str())
                .raw(array("none", 8, 0).str())
                .raw(array("i64s", 11, 1).put(std::int64_t{-5}).str())
                .str());
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->get_uint("u8"), 200u);
  EXPECT_EQ(file->get_float("i8"), -100.0);
  EXPECT_EQ(file->get_uint("i8"), std::nullopt);  // negative
  EXPECT_EQ(file->get_uint("u16"), 60000u);
  EXPECT_EQ(file->get_float("i16"), -30000.0);
  EXPECT_EQ(file->get_uint("u32"), 4000000000u);
  EXPECT_EQ(file->get_float("i32"), -2e9);
  EXPECT_EQ(file->get_uint("f32"), 15u);  // mid-2025 files write shared_kv_layers so
  EXPECT_EQ(file->get_float("f32"), 15.0);
  EXPECT_EQ(file->get_bool("bool"), true);
  EXPECT_EQ(file->get_uint("bool"), std::nullopt);
  EXPECT_EQ(file->get_string("text"), "\xff any bytes");
  EXPECT_EQ(file->get_uint("u64"), kHuge);
  EXPECT_EQ(file->get_float("u64"), std::nullopt);  // no double is it
  EXPECT_EQ(file->get_uint("i64"), 7u);
  EXPECT_EQ(file->get_uint("f64"), std::nullopt);
  EXPECT_EQ(file->get_float("f64"), 0.1);
  EXPECT_THAT(*file->get_numbers("u8s"), ElementsAre(1, 255));
  EXPECT_THAT(*file->get_numbers("i32s"), ElementsAre(-1, 2));
  EXPECT_THAT(*file->get_numbers("f32s"), ElementsAre(-std::numeric_limits<double>::infinity()));
  EXPECT_THAT(*file->get_numbers("bools"), ElementsAre(1, 0, 1));
  EXPECT_THAT(*file->get_numbers("i64s"), ElementsAre(-5));
  ASSERT_NE(file->get_strings("texts"), nullptr);
  EXPECT_THAT(*file->get_strings("texts"), ElementsAre("", "a", "\xe2\x96\x81the"));
  EXPECT_TRUE(file->get_strings("none")->empty());
  EXPECT_EQ(file->get_strings("u8s"), nullptr);
  EXPECT_EQ(file->get_numbers("texts"), std::nullopt);
  EXPECT_EQ(file->get_uint("absent"), std::nullopt);
  EXPECT_EQ(file->find("absent"), nullptr);
  const GgufEncoded* encoded = file->encoded("i32");
  ASSERT_NE(encoded, nullptr);
  EXPECT_EQ(encoded->type, GgufType::i32);
  EXPECT_EQ(encoded->bytes.size(), 4u);
  EXPECT_EQ(file->encoded("texts")->bytes.size(), 4 + 8 + 8 + 9 + 14u);
}

TEST(Gguf, HonoursTheAlignmentKey) {
  const std::string text = gguf_header(2, 1)
                               .raw(key_u32("general.alignment", 128))
                               .raw(tensor_info("a", {8}, kF32, 0))
                               .raw(tensor_info("b", {1}, kF32, 128))
                               .pad(128)
                               .zeros(128 + 4)
                               .str();
  const auto file = parse(text);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->tensors().find("b")->view.data - file->tensors().find("a")->view.data, 128);
  EXPECT_EQ(file->tensors().find("b")->view.shape, (Shape{1}));
}

TEST(Gguf, RefusesWhatItDoesNotKnow) {
  const std::string nested = Bytes().text("k").put(std::uint32_t{9}).put(std::uint32_t{9}).put(std::uint64_t{1}).str();
  const auto typed = [](std::uint32_t type) {
    return gguf_header(1, 0).raw(tensor_info("blk.0.x", {256}, type, 0)).pad(32).zeros(4096).str();
  };
  const struct {
    const char* what;
    std::string text;
    std::vector<std::string> words;
  } cases[] = {
      {"version 1", small_file(1), {"version 1", "expected 2 or 3"}},
      {"version 4", small_file(4), {"version 4"}},
      {"version 0", small_file(0), {"version 0"}},
      {"big-endian", small_file(0x03000000), {"big-endian"}},
      {"big-endian version 2", small_file(0x02000000), {"big-endian"}},
      {"before GGUF", Bytes().put(std::uint32_t{0x67676a74}).zeros(100).str(), {"before GGUF"}},
      {"nested array", gguf_header(0, 1).raw(nested).zeros(64).str(), {"'k'", "array of arrays"}},
      {"known type", typed(16), {"'blk.0.x'", "IQ2_XXS (16)"}},
      {"removed type", typed(4), {"'blk.0.x'", "Q4_2 (4)"}},
      {"newest type", typed(40), {"'blk.0.x'", "NVFP4 (40)"}},
      {"integer type", typed(26), {"'blk.0.x'", "I32 (26)"}},
      {"unknown type", typed(77), {"'blk.0.x'", "unknown (77)"}},
      {"part of a set", gguf_header(0, 1).raw(key_u32("split.count", 3)).str(), {"one of 3 parts"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    expect_refusal(parse(c.text), {ErrorCode::unsupported, c.words});
  }
}

TEST(Gguf, RefusesWhatContradictsTheFormat) {
  const auto one = [](std::string_view info, std::size_t data = 4096) {
    return gguf_header(1, 0).raw(info).pad(32).zeros(data).str();
  };
  const auto two = [](std::string_view a, std::string_view b) {
    return gguf_header(2, 0).raw(a).raw(b).pad(32).zeros(4096).str();
  };
  const auto array = [](std::uint32_t type, std::uint64_t n) {
    return gguf_header(0, 1).raw(Bytes().text("k").put(std::uint32_t{9}).put(type).put(n).str()).zeros(64).str();
  };
  const auto boolean = [](std::uint8_t byte) {
    return gguf_header(0, 1).text("k").put(std::uint32_t{7}).put(byte).zeros(8).str();
  };
  const struct {
    const char* what;
    std::string text;
    std::vector<std::string> words;
  } cases[] = {
      {"empty", "", {"not a GGUF file"}},
      {"magic", "GGXX" + std::string(60, '\0'), {"not a GGUF file", "'GGXX'", "expected 'GGUF'"}},
      {"steering magic", "\x1b[2J" + std::string(60, '\0'), {"'?[2J'"}},
      {"absurd tensor count", gguf_header(kHuge, 0).zeros(64).str(), {"18446744073709551615 tensors"}},
      {"absurd key count", gguf_header(0, kHuge / 2).zeros(64).str(), {"9223372036854775807 metadata keys"}},
      {"tensors past the end", gguf_header(3, 0).raw(tensor_info("a", {8}, kF32, 0)).str(), {"3 tensors"}},
      {"key too long for the file", gguf_header(0, 1).put(kHuge).zeros(64).str(), {"metadata key 1 of 1"}},
      {"key too long for the format", gguf_header(0, 1).text(std::string(70000, 'k')).zeros(64).str(), {"70000 bytes"}},
      {"key not UTF-8", gguf_header(0, 1).text("k\xff").zeros(64).str(), {"metadata key 1", "'k?'", "UTF-8"}},
      {"value type", gguf_header(0, 1).text("k").put(std::uint32_t{13}).zeros(64).str(), {"'k'", "value type 13"}},
      {"array type", array(13, 1), {"'k'", "value type 13"}},
      {"absurd array", array(8, kHuge), {"'k'", "18446744073709551615 × string"}},
      {"absurd array of bytes", array(0, 1000), {"'k'", "1000 × u8", "64 bytes left"}},
      {"string in array", array(8, 1).substr(0, 49) + std::string(8, '\x7f'), {"string 1 of 1 of key 'k'"}},
      {"string",
       gguf_header(0, 1).text("k").put(std::uint32_t{8}).put(kHuge - 7).zeros(64).str(),
       {"string of key 'k'"}},
      {"boolean", boolean(2), {"'k'", "boolean of value 2"}},
      {"key twice", gguf_header(0, 2).raw(key_u32("k", 1)).raw(key_u32("k", 2)).str(), {"'k' occurs twice"}},
      {"alignment 0", gguf_header(0, 1).raw(key_u32("general.alignment", 0)).str(), {"general.alignment' is 0"}},
      {"alignment 24", gguf_header(0, 1).raw(key_u32("general.alignment", 24)).str(), {"is 24", "power of two"}},
      {"alignment 2", gguf_header(0, 1).raw(key_u32("general.alignment", 2)).str(), {"is 2"}},
      {"alignment 2^31", gguf_header(0, 1).raw(key_u32("general.alignment", 1u << 31)).str(), {"is 2147483648"}},
      {"alignment of text", gguf_header(0, 1).raw(key_text("general.alignment", "32")).str(), {"not a whole number"}},
      {"no name", one(tensor_info("", {8}, kF32, 0)), {"tensor 1 of 1 has no name"}},
      {"name not UTF-8", one(tensor_info("a\xc3", {8}, kF32, 0)), {"tensor 1", "'a?'", "UTF-8"}},
      {"name too long", one(tensor_info(std::string(70000, 'n'), {8}, kF32, 0)), {"name of 70000 bytes"}},
      {"rank 5", one(tensor_info("a", {1, 1, 1, 1, 1}, kF32, 0)), {"'a'", "5 dimensions"}},
      {"rank 2^32 - 1", one(Bytes().text("a").put(~std::uint32_t{0}).str()), {"'a'", "4294967295 dimensions"}},
      {"zero dimension", one(tensor_info("a", {8, 0}, kF32, 0)), {"'a'", "dimension 2 of 2 is 0"}},
      {"overflowing product", one(tensor_info("a", {1ull << 40, 1ull << 40}, kF32, 0)), {"'a'", "overflows"}},
      {"overflowing bytes", one(tensor_info("a", {1ull << 63}, kF32, 0)), {"'a'", "too large"}},
      {"overflowing end",
       one(tensor_info("a", {1ull << 61}, kF32, kHuge - 31)),
       {"'a'", "offset 18446744073709551584"}},
      {"larger than the file", one(tensor_info("a", {2048}, kF32, 0)), {"'a'", "8192 bytes", "which has 4096"}},
      {"offset past the end", one(tensor_info("a", {8}, kF32, 1ull << 40)), {"'a'", "offset 1099511627776"}},
      {"last byte missing", one(tensor_info("a", {8}, kF32, 0), 31), {"'a'", "32 bytes", "which has 31"}},
      {"no data section", gguf_header(1, 0).raw(tensor_info("a", {8}, kF32, 0)).str(), {"'a'", "which has 0"}},
      {"misaligned", one(tensor_info("a", {8}, kF32, 4)), {"'a'", "offset 4", "multiple of 32"}},
      {"part of a block", one(tensor_info("a", {48}, kQ4_0, 0)), {"'a'", "rows of 48", "multiple of 32 for q4_0"}},
      {"no block at all", one(tensor_info("a", {}, kQ4_0, 0)), {"'a'", "rows of 1"}},
      {"overlap", two(tensor_info("a", {16}, kF32, 0), tensor_info("b", {8}, kF16, 32)), {"'a' and 'b' overlap"}},
      {"same place", two(tensor_info("a", {8}, kF32, 64), tensor_info("b", {8}, kF32, 64)), {"'a' and 'b' overlap"}},
      {"contained", two(tensor_info("b", {8}, kF32, 32), tensor_info("a", {64}, kF32, 0)), {"'a' and 'b' overlap"}},
      {"name twice", two(tensor_info("a", {8}, kF32, 0), tensor_info("a", {8}, kF32, 32)), {"'a' occurs twice"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    auto words = c.words;
    words.push_back("f.gguf: ");
    expect_refusal(parse(c.text), {ErrorCode::corrupt_file, words});
  }
}

TEST(Gguf, EveryPrefixIsAnErrorOrAFile) {
  const std::string whole = small_file();
  for (std::size_t n = 0; n < whole.size(); ++n) {
    const auto file = parse(whole.substr(0, n));
    ASSERT_FALSE(file.ok()) << n;  // the last tensor's last byte is the file's last byte
    EXPECT_THAT(file.error().message, HasSubstr("f.gguf: "));
  }
  EXPECT_TRUE(parse(whole).ok());
}

TEST(Gguf, EveryFlippedBitIsAnErrorOrAFile) {
  const std::string whole = small_file();
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string broken = whole;
    broken[bit / 8] = static_cast<char>(broken[bit / 8] ^ 1 << bit % 8);
    const auto file = parse(broken);
    if (!file.ok()) continue;
    for (const TensorEntry& entry : file->tensors().entries()) {  // what it accepts lies inside the file
      std::uint64_t sum = 0;
      for (std::size_t i = 0; i < entry.view.n_bytes(); ++i) sum += static_cast<std::uint64_t>(entry.view.data[i]);
      EXPECT_LE(sum, 255u);  // zeros but for the flipped bit
    }
  }
}

TEST(Gguf, MessagesNeitherSteerNorFloodATerminal) {
  const std::string name = "\x1b]0;owned\x07" + std::string(5000, 'x');
  const auto file = parse(gguf_header(1, 0).raw(tensor_info(name, {0}, kF32, 0)).pad(32).zeros(64).str());
  ASSERT_FALSE(file.ok());
  EXPECT_LT(file.error().message.size(), 300u);
  for (const char c : file.error().message) EXPECT_GE(static_cast<unsigned char>(c), 0x20);
}

TEST(GgmlType, NumbersRoundTrip) {
  for (std::size_t i = 0; i < kNDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_ggml(ggml_from_dtype(dtype)), dtype);
    std::string name(dtype_name(dtype));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    EXPECT_TRUE(ggml_type_name(ggml_from_dtype(dtype)).starts_with(name + " (")) << name;
  }
  EXPECT_EQ(dtype_from_ggml(9), std::nullopt);  // Q8_1 holds activations
}

// ---- files and split sets ----

using GgufFileTest = FolderTest;

std::string part(std::uint32_t number, std::uint32_t count, std::uint32_t n_all, std::string_view tensor) {
  const auto u16 = [](std::string_view key, std::uint32_t v) {
    return Bytes().text(key).put(std::uint32_t{2}).put(static_cast<std::uint16_t>(v)).str();
  };
  return gguf_header(1, number == 1 ? 4 : 3)
      .raw(u16("split.no", number - 1))
      .raw(u16("split.count", count))
      .raw(Bytes().text("split.tensors.count").put(std::uint32_t{5}).put(n_all).str())
      .raw(number == 1 ? key_text("general.architecture", "gemma3n") : "")
      .raw(tensor_info(tensor, {8}, kF32, 0))
      .pad(32)
      .raw(std::string(32, static_cast<char>(number)))
      .str();
}

TEST_F(GgufFileTest, OpensASetFromAnyPart) {
  const auto first = write("m-00001-of-00003.gguf", part(1, 3, 3, "a"));
  const auto second = write("m-00002-of-00003.gguf", part(2, 3, 3, "b"));
  const auto third = write("m-00003-of-00003.gguf", part(3, 3, 3, "c"));
  for (const auto& path : {first, second, third}) {
    const auto file = GgufFile::open(path);
    ASSERT_TRUE(file.ok()) << file.error().message;
    EXPECT_EQ(file->get_string("general.architecture"), "gemma3n");
    EXPECT_EQ(file->encoded("general.architecture")->bytes.size(), 15u);
    ASSERT_EQ(file->tensors().entries().size(), 3u);
    EXPECT_EQ(file->tensors().entries()[0].name, "a");
    EXPECT_EQ(file->tensors().find("c")->view.data[31], std::byte{3});
    EXPECT_EQ(file->tensors().find("b")->file, second.string());
    EXPECT_EQ(file->tensors().files().size(), 3u);
  }
}

TEST_F(GgufFileTest, NamesWhatIsWrongWithASet) {
  const auto first = write("m-00001-of-00002.gguf", part(1, 2, 2, "a"));
  expect_refusal(GgufFile::open(first), {ErrorCode::not_found, {"m-00002-of-00002.gguf", "part 2 of 2 is missing"}});
  write("m-00002-of-00002.gguf", part(2, 3, 2, "b"));
  expect_refusal(GgufFile::open(first),
                 {ErrorCode::corrupt_file, {"m-00002-of-00002.gguf", "'split.count' is 3, expected 2"}});
  write("m-00002-of-00002.gguf", part(1, 2, 2, "b"));
  expect_refusal(GgufFile::open(first),
                 {ErrorCode::corrupt_file, {"m-00002-of-00002.gguf", "'split.no' is 0, expected 1"}});
  write("m-00002-of-00002.gguf", part(2, 2, 2, "a"));
  expect_refusal(GgufFile::open(first), {ErrorCode::corrupt_file, {"'a' occurs twice", "m-00001-of-00002.gguf"}});
  write("m-00002-of-00002.gguf", small_file());
  expect_refusal(GgufFile::open(first),
                 {ErrorCode::corrupt_file, {"m-00002-of-00002.gguf", "'split.no' and 'split.count'"}});
  write("m-00001-of-00002.gguf", part(1, 2, 5, "a"));
  write("m-00002-of-00002.gguf", part(2, 2, 5, "b"));
  expect_refusal(GgufFile::open(first), {ErrorCode::corrupt_file, {"hold 2 tensors, expected 5"}});
  const auto renamed = write("renamed.gguf", part(1, 2, 2, "a"));
  expect_refusal(GgufFile::open(renamed),
                 {ErrorCode::not_found, {"renamed.gguf", "one of 2 parts", "-00001-of-00002.gguf"}});
}

TEST_F(GgufFileTest, TakesANumberedNameForWhatTheFileSays) {
  EXPECT_TRUE(GgufFile::open(write("m-00001-of-00001.gguf", small_file())).ok());
  EXPECT_TRUE(GgufFile::open(write("m-0001-of-0002.gguf", small_file())).ok());     // other digits: a plain name
  EXPECT_TRUE(GgufFile::open(write("m-00003-of-00002.gguf", small_file())).ok());   // no such part
  EXPECT_FALSE(GgufFile::open(write("m-00001-of-00002.gguf", small_file())).ok());  // a set without its keys
}

TEST_F(GgufFileTest, NamesAFileItCannotOpen) {
  expect_refusal(GgufFile::open(folder_ / "none.gguf"), {ErrorCode::not_found, {"none.gguf"}});
  expect_refusal(GgufFile::open(folder_), {ErrorCode::io, {folder_.string()}});
  expect_refusal(GgufFile::open(write("empty.gguf", "")), {ErrorCode::corrupt_file, {"empty.gguf", "not a GGUF file"}});
}

TEST(Printable, CutsAndCleansNames) {
  EXPECT_EQ(printable("blk.0.attn_q.weight"), "'blk.0.attn_q.weight'");
  EXPECT_EQ(printable("Grüße"), "'Grüße'");
  EXPECT_EQ(printable("a\n\x7f\xff"),
            "'a"
            "?"
            "?"
            "?'");
  EXPECT_EQ(printable(std::string(1000, 'a')).size(), 2 + 40 + 3 + 40u);
}

}  // namespace
}  // namespace unicorn
