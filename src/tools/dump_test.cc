#include "tools/dump.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <limits>

#include "tools/npy.h"

namespace unicorn {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Two tensors, three steps: an embedding before the layers, a matmul of two parts in layer 0, a norm after the last.
Plan small_plan() {
  Plan plan;
  plan.n_layers = 1;
  plan.tensors = {{"x", 2, Rows::all}, {"qkv.0", 4, Rows::all}};
  const TensorRef x{TensorId{0}, 0, 2};
  const TensorRef q{TensorId{1}, 0, 3}, k{TensorId{1}, 3, 1};
  plan.steps.push_back({op::Embed{WeightId{0}, 1, x}, Rows::all, -1});
  plan.steps.push_back({op::Matmul{x, {{WeightId{1}, q}, {WeightId{2}, k}}}, Rows::all, 0});
  plan.steps.push_back({op::RmsNorm{x, WeightId{3}, 2, x}, Rows::all, 1});
  return plan;
}

class Dump : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "unicorn-dump-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::vector<std::string> files(const fs::path& folder) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  // One pass of `n_rows` rows whose values begin at `first`.
  static void pass(TensorDump& dump, std::size_t n_rows, float first) {
    const auto values = [&](std::size_t width) {
      std::vector<float> v(n_rows * width);
      for (std::size_t i = 0; i < v.size(); ++i) v[i] = first + static_cast<float>(i);
      return v;
    };
    dump.on_step(0, TensorId{0}, values(2), n_rows);
    dump.on_step(1, TensorId{1}, values(3), n_rows);
    dump.on_step(1, TensorId{1}, values(1), n_rows);
    dump.on_step(2, TensorId{0}, values(2), n_rows);
  }
  void write(const fs::path& path, const std::vector<float>& values, std::size_t width) {
    fs::create_directories(path.parent_path());
    NpyWriter writer = NpyWriter::create(path).value();
    ASSERT_TRUE(writer.append(values).ok());
    ASSERT_TRUE(writer.finish(width).ok());
  }

  fs::path folder_;
};

TEST_F(Dump, EveryWrittenTensorOfEveryStepIsAFileInStepOrder) {
  const Plan plan = small_plan();
  const auto dump = TensorDump::create(plan, folder_ / "a", {}).value();
  pass(*dump, 2, 0);
  EXPECT_TRUE(dump->status().ok());
  EXPECT_EQ(dump->n_files(), 4u);
  EXPECT_THAT(files(folder_ / "a"), ElementsAre("0000-in-embed-x.npy", "0001-L00-matmul-qkv.0@0.npy",
                                                "0001-L00-matmul-qkv.0@3.npy", "0002-out-rms_norm-x.npy"));
}

TEST_F(Dump, LaterPassesAddRows) {
  const Plan plan = small_plan();
  const auto chunks = TensorDump::create(plan, folder_ / "a", {}).value();
  pass(*chunks, 1, 0);
  pass(*chunks, 2, 10);
  const NpyMatrix x = read_npy(folder_ / "a/0000-in-embed-x.npy").value();
  EXPECT_EQ(x.n_rows, 3u);
  EXPECT_THAT(x.values, ElementsAre(0, 1, 10, 11, 12, 13));
  EXPECT_THAT(read_npy(folder_ / "a/0001-L00-matmul-qkv.0@3.npy").value().values, ElementsAre(0, 10, 11));
}

TEST_F(Dump, FiltersChooseLayersOperationsAndTensors) {
  const Plan plan = small_plan();
  const auto names = [&](std::string_view filter, const char* folder) {
    const auto dump = TensorDump::create(plan, folder_ / folder, parse_dump_filter(filter).value()).value();
    pass(*dump, 1, 0);
    return files(folder_ / folder);
  };
  EXPECT_THAT(names("layer=0", "b"), ElementsAre("0001-L00-matmul-qkv.0@0.npy", "0001-L00-matmul-qkv.0@3.npy"));
  EXPECT_THAT(names("layer=in,layer=out", "c"), ElementsAre("0000-in-embed-x.npy", "0002-out-rms_norm-x.npy"));
  EXPECT_THAT(names("op=rms_norm", "d"), ElementsAre("0002-out-rms_norm-x.npy"));
  EXPECT_EQ(names("tensor=qkv", "e").size(), 2u);
  EXPECT_EQ(names("tensor=qkv.0", "f").size(), 2u);
  EXPECT_EQ(names("all", "g").size(), 4u);
  EXPECT_THAT(TensorDump::create(plan, folder_ / "h", parse_dump_filter("op=attention").value()).error().message,
              HasSubstr("matmul"));
  EXPECT_FALSE(fs::exists(folder_ / "h"));
}

TEST_F(Dump, BadFiltersAreNamed) {
  for (const char* text : {"layer", "layer=", "layer=x", "layer=-1", "layer=3-1", "layer=1-", "colour=red",
                           "op=,layer=1", ",", "layer=1,"}) {
    SCOPED_TRACE(text);
    EXPECT_FALSE(parse_dump_filter(text).ok());
  }
}

TEST_F(Dump, AnOlderDumpIsNotMixedIn) {
  const Plan plan = small_plan();
  pass(*TensorDump::create(plan, folder_ / "a", {}).value(), 1, 0);
  EXPECT_THAT(TensorDump::create(plan, folder_ / "a", {}).error().message, HasSubstr("already"));
}

TEST_F(Dump, AFailedWriteIsRememberedAndNothingFollows) {
  const Plan plan = small_plan();
  const auto dump = TensorDump::create(plan, folder_ / "a", {}).value();
  fs::remove_all(folder_ / "a");
  pass(*dump, 1, 0);
  EXPECT_EQ(dump->status().error().code, ErrorCode::io);
}

TEST_F(Dump, CompareNamesTheFirstTensorToDrift) {
  for (const char* side : {"a", "b"}) {
    const float drift = *side == 'b' ? 0.5f : 0.0f;
    write(folder_ / side / "0000-in-embed-x.npy", {1, 2, 3, 4}, 2);
    write(folder_ / side / "0002-L00-matmul-q.npy", {1, 2, 3 + drift, 4 + drift / 2}, 2);
    write(folder_ / side / "0010-L01-matmul-q.npy", {1, 2 + 2 * drift}, 2);
  }
  const DumpComparison result = compare_dumps(folder_ / "a", folder_ / "b", {}).value();
  EXPECT_EQ(result.n_compared, 3u);
  EXPECT_EQ(result.n_identical, 1u);
  ASSERT_EQ(result.drifts.size(), 2u);
  const DumpDrift& first = result.drifts[0];
  EXPECT_EQ(first.file, "0002-L00-matmul-q.npy");
  EXPECT_EQ(first.max_abs_error, 0.5);
  EXPECT_EQ(first.row, 1u);
  EXPECT_EQ(first.column, 0u);
  EXPECT_EQ(first.n_beyond, 2u);
  EXPECT_EQ(result.max_abs_error, 1.0);
  EXPECT_TRUE(compare_dumps(folder_ / "a", folder_ / "b", {.rtol = 0, .atol = 1}).value().drifts.empty());
}

TEST_F(Dump, CompareKnowsNaNsInfinitiesShapesAndMissingTensors) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  write(folder_ / "a/0.npy", {nan, inf, -inf}, 3);
  write(folder_ / "b/0.npy", {nan, inf, -inf}, 3);
  write(folder_ / "a/1.npy", {nan}, 1);
  write(folder_ / "b/1.npy", {1}, 1);
  write(folder_ / "a/2.npy", {1}, 1);
  write(folder_ / "b/2.npy", {nan}, 1);
  write(folder_ / "a/3.npy", {inf}, 1);
  write(folder_ / "b/3.npy", {-inf}, 1);
  write(folder_ / "a/4.npy", {1, 2}, 2);
  write(folder_ / "b/4.npy", {1, 2}, 1);
  write(folder_ / "a/5.npy", {1}, 1);
  write(folder_ / "b/6.npy", {1}, 1);
  const DumpComparison result = compare_dumps(folder_ / "a", folder_ / "b", {}).value();
  ASSERT_EQ(result.drifts.size(), 4u);
  EXPECT_EQ(result.drifts[0].file, "1.npy");
  EXPECT_TRUE(std::isinf(result.drifts[0].max_abs_error));
  EXPECT_EQ(result.drifts[1].file, "2.npy");
  EXPECT_EQ(result.drifts[2].file, "3.npy");
  EXPECT_FALSE(result.drifts[3].same_shape);
  EXPECT_THAT(result.only_in_a, ElementsAre("5.npy"));
  EXPECT_THAT(result.only_in_b, ElementsAre("6.npy"));
}

TEST_F(Dump, CompareRefusesWhatIsNoDump) {
  EXPECT_EQ(compare_dumps(folder_ / "no", folder_, {}).error().code, ErrorCode::not_found);
  EXPECT_EQ(compare_dumps(folder_, folder_, {}).error().code, ErrorCode::not_found);
  std::ofstream(folder_ / "x.npy") << "junk";
  EXPECT_EQ(compare_dumps(folder_, folder_, {}).error().code, ErrorCode::corrupt_file);
}

}  // namespace
}  // namespace unicorn
