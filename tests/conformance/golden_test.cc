// Held to Hugging Face: logits and greedy continuations of the demo model, of its MatFormer slice and of random small
// models that differ in every hyper-parameter, from fixtures that scripts/make_golden.py made.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/json.h"
#include "core/mapped_file.h"
#include "engine/engine.h"

namespace unicorn {
namespace {

namespace fs = std::filesystem;

// The fixtures' own float32 noise is below 5e-5 and they are rounded to 2^-14; the rest is our summation order.
constexpr double kMaxLogitError = 1e-3;

const fs::path kGolden = fs::path(UNICORN_SOURCE_DIR) / "tests/data/golden";
const fs::path kUnpacked = fs::path(UNICORN_TEST_DATA_DIR) / "golden";

Json read_json(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  Result<Json> json = parse_json(text.str(), path.string());
  UNICORN_CHECK_MSG(json.ok(), json.error().message);
  return std::move(json).value();
}

// A raw array named in a manifest.
template <class T>
class Array {
 public:
  Array(const fs::path& folder, const Json& entry) {
    for (const Json& d : entry["shape"]) shape_.push_back(d.get<std::size_t>());
    Result<MappedFile> file = MappedFile::open(folder / entry["file"].get<std::string>());
    UNICORN_CHECK_MSG(file.ok(), file.error().message);
    file_ = std::move(file).value();
    std::size_t n = sizeof(T);
    for (std::size_t d : shape_) n *= d;
    UNICORN_CHECK(file_.bytes().size() == n);
  }
  std::span<const T> row(std::size_t i) const {
    const std::size_t width = shape_.size() > 1 ? shape_[1] : 1;
    return {reinterpret_cast<const T*>(file_.bytes().data()) + i * width, width};
  }

 private:
  MappedFile file_;
  std::vector<std::size_t> shape_;
};

std::unique_ptr<Engine> load(const std::string& model, const std::string& device, const std::string& slice = "full",
                             Precision precision = Precision::f32) {
  EngineOptions options;
  options.model = model;
  options.device = device;
  options.slice = slice;
  options.n_threads = 2;
  options.n_ctx = 1024;
  options.precision = precision;
  options.kv = precision == Precision::bf16 ? DType::bf16 : DType::f32;
  if (precision == Precision::f32) options.weights = DType::f32;
  Result<std::unique_ptr<Engine>> engine = Engine::load(options);
  UNICORN_CHECK_MSG(engine.ok(), engine.error().message);
  return std::move(engine).value();
}

std::vector<TokenId> ids_of(const Json& json) { return json.get<std::vector<TokenId>>(); }

// Calls `check` with the logits of every position.
void score(Engine& engine, const std::vector<TokenId>& ids,
           const std::function<void(std::size_t, std::span<const float>)>& check) {
  Result<Sequence> sequence = engine.new_sequence();
  ASSERT_TRUE(sequence.ok()) << sequence.error().message;
  const Work work{&*sequence, ids, Outputs::all};
  const Status status = engine.forward({&work, 1}, [&](const RowOutput& row) { check(row.pos, row.logits); });
  ASSERT_TRUE(status.ok()) << status.error().message;
}

std::vector<TokenId> greedy(Engine& engine, const std::vector<TokenId>& prompt, std::size_t n) {
  Session session(engine);
  GenerateOptions options;
  options.max_tokens = static_cast<std::uint32_t>(n);
  options.sampling.temperature = 0;
  options.ignore_eos = true;
  Result<Generation> g = session.generate(prompt, options);
  UNICORN_CHECK_MSG(g.ok(), g.error().message);
  return g->ids;
}

double max_error(std::span<const float> got, std::span<const float> want) {
  double worst = got.size() == want.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < std::min(got.size(), want.size()); ++i)
    worst = std::max(worst, std::abs(double{got[i]} - double{want[i]}));
  return worst;
}

class Golden : public ::testing::TestWithParam<std::string> {};

TEST_P(Golden, DemoLogitsAtEveryPosition) {
  const Json m = read_json(kGolden / "demo/manifest.json");
  const fs::path folder = kUnpacked / "demo";
  const Array<float> logits(folder, m["logits"]), top_logits(folder, m["top_logits"]),
      log_sum_exp(folder, m["log_sum_exp"]);
  const Array<std::int32_t> top_ids(folder, m["top_ids"]);
  const auto full = load(UNICORN_DEMO_MODEL_DIR, GetParam()), slice = load(UNICORN_DEMO_MODEL_DIR, GetParam(), "small");
  double worst = 0;
  std::size_t n_positions = 0, n_prompts = 0;
  for (const Json& c : m["cases"]) {
    const std::vector<TokenId> ids = ids_of(c["ids"]);
    SCOPED_TRACE(c["mode"].get<std::string>() + ", " + std::to_string(ids.size()) +
                 " ids: " + c["prompt"].get<std::string>().substr(0, 60));
    const auto positions = c["positions"].get<std::vector<std::size_t>>();
    const std::size_t first_row = c["first_row"], first_position = c["first_position"];
    ++n_prompts;
    score(c["mode"] == "full" ? *full : *slice, ids, [&](std::size_t pos, std::span<const float> got) {
      ++n_positions;
      // Everywhere: the eight best and the normaliser; at chosen positions the whole vocabulary.
      const auto want_ids = top_ids.row(first_position + pos);
      const auto want = top_logits.row(first_position + pos);
      for (std::size_t i = 0; i < want.size(); ++i)
        EXPECT_NEAR(got[static_cast<std::size_t>(want_ids[i])], want[i], kMaxLogitError)
            << "position " << pos << ", id " << want_ids[i];
      double sum = 0;
      for (float v : got) sum += std::exp(double{v});
      EXPECT_NEAR(std::log(sum), log_sum_exp.row(first_position + pos)[0], kMaxLogitError) << "position " << pos;
      if (const auto at = std::find(positions.begin(), positions.end(), pos); at != positions.end()) {
        const double error = max_error(got, logits.row(first_row + static_cast<std::size_t>(at - positions.begin())));
        worst = std::max(worst, error);
        EXPECT_LE(error, kMaxLogitError) << "position " << pos;
      }
    });
    const std::vector<TokenId> want_greedy = ids_of(c["greedy_ids"]);
    EXPECT_EQ(greedy(c["mode"] == "full" ? *full : *slice, ids, want_greedy.size()), want_greedy);
  }
  RecordProperty("max_logit_error", std::to_string(worst));
  printf("[ %s ] %zu prompts, %zu positions, maximum logit error %.2e\n", GetParam().c_str(), n_prompts, n_positions,
         worst);
  EXPECT_GE(n_prompts, 20u);
}

TEST_P(Golden, DemoReferencesContinueIdentically) {
  const Json r = read_json(fs::path(UNICORN_DEMO_MODEL_DIR) / "reference.json");
  const auto full = load(UNICORN_DEMO_MODEL_DIR, GetParam()), slice = load(UNICORN_DEMO_MODEL_DIR, GetParam(), "small");
  std::size_t n = 0;
  for (const Json& c : r["references"]) {
    const std::vector<TokenId> want = ids_of(c["greedy_ids"]);
    EXPECT_EQ(greedy(c["mode"] == "full" ? *full : *slice, ids_of(c["ids"]), want.size()), want) << c["prompt"];
    ++n;
  }
  EXPECT_EQ(n, 12u);
}

TEST_P(Golden, RandomShapesAtEveryPosition) {
  std::size_t n = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(kGolden / "tiny")) {
    if (!entry.is_directory()) continue;
    const std::string name = entry.path().filename().string();
    SCOPED_TRACE(name);
    const Json g = read_json(entry.path() / "golden.json");
    const Array<float> logits(kUnpacked / "tiny" / name, g["logits"]);
    const auto engine = load(entry.path().string(), GetParam());
    double worst = 0;
    score(*engine, ids_of(g["ids"]), [&](std::size_t pos, std::span<const float> got) {
      worst = std::max(worst, max_error(got, logits.row(pos)));
    });
    EXPECT_LE(worst, kMaxLogitError);
    const std::vector<TokenId> want = ids_of(g["greedy_ids"]);
    EXPECT_EQ(greedy(*engine, ids_of(g["ids"]), want.size()), want);
    printf("[ %s ] %s: maximum logit error %.2e\n", GetParam().c_str(), name.c_str(), worst);
    ++n;
  }
  EXPECT_GE(n, 6u);
}

TokenId argmax(std::span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Two bfloat16 runs of Hugging Face differ wherever the two best logits are closer than the rounding. We must agree
// with its eager run at least as often as its own other attention kernel (sdpa) does, on the same positions.
void expect_bf16_agreement(const std::string& device, Precision precision) {
  constexpr std::size_t kSequences = 14;  // of 384 ids: 5,376 positions
  const Json m = read_json(kGolden / "bf16/manifest.json");
  const fs::path folder = kUnpacked / "bf16";
  const Array<std::int32_t> all_ids(folder, m["ids"]), eager(folder, m["bf16_eager"]), sdpa(folder, m["bf16_sdpa"]);
  const auto engine = load(UNICORN_DEMO_MODEL_DIR, device, "full", precision);
  std::size_t n = 0, ours = 0, theirs = 0;
  for (std::size_t s = 0; s < kSequences; ++s) {
    const auto ids = all_ids.row(s);
    score(*engine, {ids.begin(), ids.end()}, [&](std::size_t pos, std::span<const float> logits) {
      ++n;
      ours += argmax(logits) == eager.row(s)[pos];
      theirs += sdpa.row(s)[pos] == eager.row(s)[pos];
    });
  }
  const auto percent = [&](std::size_t k) { return 100.0 * static_cast<double>(k) / static_cast<double>(n); };
  printf("[ %s ] top-1 agreement with Hugging Face bf16 eager over %zu positions: %.2f %%; its own sdpa: %.2f %%\n",
         device.c_str(), n, percent(ours), percent(theirs));
  EXPECT_GE(n, 5000u);
  EXPECT_GE(ours, theirs);
}

TEST(GoldenBf16, RoundingEveryOperatorAgreesAtLeastAsOftenAsSdpa) {
  expect_bf16_agreement("reference", Precision::bf16);
}

TEST(GoldenBf16, Float32ActivationsAgreeAtLeastAsOftenAsSdpa) { expect_bf16_agreement("cpu", Precision::f32); }

INSTANTIATE_TEST_SUITE_P(Devices, Golden, ::testing::Values("reference", "cpu", "reference,cpu"),
                         [](const auto& device) {
                           return device.param == "reference,cpu" ? std::string("alternating") : device.param;
                         });

}  // namespace
}  // namespace unicorn
