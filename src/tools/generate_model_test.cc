#include "tools/generate_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "engine/engine.h"
#include "engine/model_files.h"
#include "quant/block.h"
#include "tools/convert_model.h"
#include "tools/hf_config.h"
#include "tools/model_tensors.h"
#include "tools/random_weights.h"
#include "tools/score.h"

namespace unicorn {
namespace {

namespace fs = std::filesystem;

class GenerateModel : public testing::Test {
 protected:
  GenerateModel() : folder_(fs::temp_directory_path() / ("unicorn_generate_" + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
  }
  ~GenerateModel() override { fs::remove_all(folder_); }

  fs::path write(ModelFormat format, const std::string& type, const std::string& name, std::size_t n_threads = 2) {
    GenerateModelOptions o;
    o.shape = "tiny";
    o.format = format;
    o.type = type;
    o.seed = 7;
    o.n_threads = n_threads;
    o.out = folder_ / name;
    if (format == ModelFormat::safetensors) {
      o.towers = true;
      o.n_shards = 3;
    }
    const auto made = generate_model(o);
    EXPECT_TRUE(made.ok()) << made.error().message;
    return o.out;
  }

  fs::path folder_;
};

std::string bytes_of(const fs::path& path) {
  const auto file = MappedFile::open(path);
  EXPECT_TRUE(file.ok());
  return std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
}

std::vector<float> logits_of(const fs::path& model, std::optional<DType> weights, const std::string& slice = "full") {
  EngineOptions o;
  o.model = model.string();
  o.weights = weights;
  o.slice = slice;
  o.n_ctx = 64;
  auto engine = Engine::load(o);
  EXPECT_TRUE(engine.ok()) << engine.error().message;
  std::vector<float> all;
  const std::vector<TokenId> ids = {2, 105, 31, 250, 7, 7, 281, 64};
  const Status scored = score(**engine, ids, [&](const ScoredToken& t) -> Status {
    all.insert(all.end(), t.logits.begin(), t.logits.end());
    return Ok{};
  });
  EXPECT_TRUE(scored.ok()) << scored.error().message;
  return all;
}

TEST(RandomTensor, HoldsTheSameValuesInEveryType) {
  constexpr std::size_t kRows = 3000, k = 512;  // more than the pool
  const Distribution d{0.0f, 0.05f, 0.0f};
  const RandomTensor plain(3, "blk.0.ffn_up", kRows, k, d, DType::f32);
  for (const DType dtype : {DType::bf16, DType::q8_0, DType::q4_0, DType::q6_k}) {
    SCOPED_TRACE(dtype_name(dtype));
    const RandomTensor random(3, "blk.0.ffn_up", kRows, k, d, dtype);
    std::vector<float> values(k);
    std::vector<std::byte> want(row_bytes(dtype, k)), found(random.bytes_per_row());
    for (const std::size_t row : {std::size_t{0}, std::size_t{1}, std::size_t{777}, kRows - 1}) {
      plain.read_row(row, reinterpret_cast<std::byte*>(values.data()));
      encode_row(dtype, values.data(), want.data(), k);
      random.read_row(row, found.data());
      EXPECT_EQ(want, found);
    }
  }
}

TEST(RandomTensor, DiffersBySeedTensorAndRow) {
  const auto row = [](std::uint64_t seed, const char* name, std::size_t i) {
    std::vector<float> values(256);
    RandomTensor(seed, name, 16, 256, {}, DType::f32).read_row(i, reinterpret_cast<std::byte*>(values.data()));
    return values;
  };
  EXPECT_EQ(row(1, "a", 0), row(1, "a", 0));
  EXPECT_NE(row(1, "a", 0), row(2, "a", 0));
  EXPECT_NE(row(1, "a", 0), row(1, "b", 0));
  EXPECT_NE(row(1, "a", 0), row(1, "a", 1));
}

// E2B's real gate: of 8,192 rows, 4 to 6 % pass the cut at mean + 1.645 std, whatever the token.
TEST(RandomTensor, LeavesFourToSixPercentOfASparseGate) {
  constexpr std::size_t n = 8192, k = 2048;
  const RandomTensor gate(1, "blk.0.ffn_gate", n, k, {0.0f, 1.0f / std::sqrt(2048.0f), 0.0f}, DType::f32);
  const RandomTensor tokens(9, "x", 4, k, {}, DType::f32);
  std::vector<float> x(4 * k), row(k);
  for (std::size_t t = 0; t < 4; ++t) tokens.read_row(t, reinterpret_cast<std::byte*>(x.data() + t * k));
  std::vector<double> g(4 * n);
  for (std::size_t i = 0; i < n; ++i) {
    gate.read_row(i, reinterpret_cast<std::byte*>(row.data()));
    for (std::size_t t = 0; t < 4; ++t)
      g[t * n + i] = std::inner_product(row.begin(), row.end(), x.begin() + static_cast<long>(t * k), 0.0);
  }
  for (std::size_t t = 0; t < 4; ++t) {
    const std::span<const double> values(g.data() + t * n, n);
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
    double variance = 0;
    for (const double v : values) variance += (v - mean) * (v - mean) / n;
    const double cut = mean + 1.6448533535 * std::sqrt(variance);
    const auto alive =
        static_cast<double>(std::count_if(values.begin(), values.end(), [&](double v) { return v > cut; })) / n;
    EXPECT_GT(alive, 0.04);
    EXPECT_LT(alive, 0.06);
  }
}

// Parameter and tensor counts as published (config.json and safetensors index of google/gemma-3n-*).
TEST(ModelTensors, CountAsPublished) {
  struct Case {
    const char* shape;
    std::uint64_t n_parameters;
    std::size_t n_gguf, n_hugging_face;
  };
  for (const Case& c : {Case{"e2b", 4'456'156'768, 727, 731}, Case{"e4b", 6'866'696'688, 847, 851}}) {
    SCOPED_TRACE(c.shape);
    const auto config = shape_config(c.shape);
    ASSERT_TRUE(config.ok());
    std::uint64_t n = 0;
    std::size_t n_hugging_face = 0;
    for (const ModelTensor& t : model_tensors(*config, false)) {
      n += std::uint64_t{t.n_rows()} * t.k;
      n_hugging_face += t.count;
    }
    EXPECT_EQ(n, c.n_parameters);
    EXPECT_EQ(model_tensors(*config, true).size(), c.n_gguf);
    EXPECT_EQ(n_hugging_face, c.n_hugging_face);
  }
}

TEST(ModelTensors, Q4KMSpendsMoreBitsWhereLlamaCppDoes) {
  const auto layers_with_q6_k = [](const char* shape) {
    std::vector<std::uint32_t> layers;
    const auto config = shape_config(shape);
    const auto type = file_type_from_name("q4_k_m");
    for (const ModelTensor& t : model_tensors(*config, true))
      if (t.name.ends_with(".ffn_down") && stored_dtype(*type, t, config->n_layers(), DType::bf16) == DType::q6_k)
        layers.push_back(static_cast<std::uint32_t>(std::stoul(t.name.substr(4))));
    return layers;
  };
  EXPECT_THAT(layers_with_q6_k("e2b"), testing::ElementsAre(0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29));
  EXPECT_THAT(layers_with_q6_k("e4b"),
              testing::ElementsAre(0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 31, 32, 33, 34));
}

TEST(HuggingFaceConfig, ReadsBackAsTheShapeItWasMadeOf) {
  for (const char* shape : {"e2b", "e4b", "gemma3-270m", "gemma3-1b", "gemma3-4b", "tiny"})
    for (const bool multimodal : {false, true}) {
      SCOPED_TRACE(shape);
      const auto want = shape_config(shape);
      const auto found = config_from_hf(hugging_face_config(*want, multimodal), shape);
      ASSERT_TRUE(found.ok()) << found.error().message;
      EXPECT_EQ(hugging_face_config(*found, multimodal), hugging_face_config(*want, multimodal));
      EXPECT_EQ(found->attention_scale, want->attention_scale);
      EXPECT_EQ(found->rope_full.freq_scale, want->rope_full.freq_scale);
      for (std::uint32_t l = 0; l < want->n_layers(); ++l)
        EXPECT_EQ(found->layers[l].sparsity_z, want->layers[l].sparsity_z);
    }
}

TEST_F(GenerateModel, WritesTheSameFileWithAnyNumberOfThreads) {
  const std::string one = bytes_of(write(ModelFormat::gguf, "q4_k_m", "one.gguf", 1));
  EXPECT_EQ(one, bytes_of(write(ModelFormat::gguf, "q4_k_m", "three.gguf", 3)));
}

TEST_F(GenerateModel, GgufAndSafetensorsOfOneSeedAreOneModel) {
  const fs::path folder = write(ModelFormat::safetensors, "bf16", "bf16");
  const std::vector<float> plain = logits_of(folder, std::nullopt);
  EXPECT_EQ(plain, logits_of(write(ModelFormat::gguf, "bf16", "bf16.gguf"), std::nullopt));
  for (const DType dtype : {DType::q4_0, DType::q8_0, DType::q4_k}) {
    const std::string name(dtype_name(dtype));
    SCOPED_TRACE(name);
    const std::vector<float> converted = logits_of(folder, dtype);
    EXPECT_EQ(converted, logits_of(write(ModelFormat::gguf, name, name + ".gguf"), std::nullopt));
    EXPECT_NE(converted, plain);
  }
}

TEST_F(GenerateModel, LeavesNothingBehindWhenGivenUp) {
  for (const ModelFormat format : {ModelFormat::gguf, ModelFormat::safetensors}) {
    GenerateModelOptions o;
    o.shape = "tiny";
    o.format = format;
    o.type = "bf16";
    o.out = folder_ / "given-up";
    o.progress = [](double fraction) { return fraction < 0.5; };
    const auto made = generate_model(o);
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().code, ErrorCode::cancelled);
    EXPECT_TRUE(fs::is_empty(folder_));
  }
}

TEST_F(GenerateModel, RefusesWhatCannotBe) {
  GenerateModelOptions o;
  o.shape = "tiny";
  o.out = folder_ / "x";
  o.type = "q4_9";
  EXPECT_EQ(generate_model(o).error().code, ErrorCode::invalid_argument);
  o.type = "q4_0";
  o.format = ModelFormat::safetensors;
  EXPECT_EQ(generate_model(o).error().code, ErrorCode::invalid_argument);
  o.format = ModelFormat::gguf;
  o.out = folder_ / "no" / "such" / "folder.gguf";
  EXPECT_EQ(generate_model(o).error().code, ErrorCode::io);
}

TEST_F(GenerateModel, ConvertedDemoIsTheDemo) {
  const fs::path demo = UNICORN_DEMO_MODEL_DIR;
  const auto convert = [&](const fs::path& model, const std::string& type, const std::string& name) {
    ConvertModelOptions o;
    o.model = model;
    o.type = type;
    o.out = folder_ / name;
    o.n_threads = 2;
    const auto made = convert_model(o);
    EXPECT_TRUE(made.ok()) << made.error().message;
    return o.out;
  };
  const fs::path plain = convert(demo, "", "plain.gguf");
  EXPECT_EQ(logits_of(plain, std::nullopt), logits_of(demo, std::nullopt));
  EXPECT_EQ(logits_of(plain, std::nullopt, "small"), logits_of(demo, std::nullopt, "small"));
  const fs::path q8_0 = convert(demo, "q8_0", "q8_0.gguf");
  EXPECT_EQ(logits_of(q8_0, std::nullopt), logits_of(demo, DType::q8_0));
  EXPECT_EQ(logits_of(convert(plain, "q8_0", "again.gguf"), std::nullopt), logits_of(q8_0, std::nullopt));

  // The vocabulary survives, merges as scores.
  const auto from_json = load_tokenizer(demo), from_gguf = load_tokenizer(plain);
  ASSERT_TRUE(from_json.ok() && from_gguf.ok());
  for (const std::string text :
       {"What does \"river\" mean?", "12 + 30 =  42\n\n\tyes", "naïve café – 東京 🙂", "<start_of_turn>user\n"})
    for (const bool parse_special : {false, true}) {
      const EncodeOptions options{.add_bos = true, .parse_special = parse_special};
      EXPECT_EQ(from_json->encode(text, options), from_gguf->encode(text, options)) << text;
    }
}

}  // namespace
}  // namespace unicorn
