// The published rows of the generated tiny Gemma 3n, and what must hold of any plan: batching, chunking and the prefill
// cut change no bit of a row.
#include "tests/support/appendix_a.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "model/model.h"
#include "tests/support/runner.h"

namespace unicorn {
namespace {

using testing::appendix_a_model;
using testing::kAppendixAIds;
using testing::Recorder;
using testing::Runner;
using testing::TinyModel;

Plan plan_of(const TinyModel& m) {
  const WeightSource source(m.table, Naming::gguf, std::nullopt);
  Result<Plan> plan = build_gemma3n(m.config, source);
  UNICORN_CHECK_MSG(plan.ok(), plan.error().message);
  return std::move(plan).value();
}

std::size_t argmax(const std::vector<float>& v) {
  return static_cast<std::size_t>(std::max_element(v.begin(), v.end()) - v.begin());
}

// A plain f32 implementation stays within 8e-4 on the logits; rows on the way are given to six decimals.
constexpr double kTolerance = 8e-4;

void expect_row(const std::vector<float>& values, std::size_t offset, std::initializer_list<double> want,
                const std::string& what) {
  std::size_t i = offset;
  for (double w : want) {
    ASSERT_LT(i, values.size()) << what;
    EXPECT_NEAR(values[i], w, kTolerance) << what << " [" << i - offset << "]";
    ++i;
  }
}

constexpr std::size_t kLast = 19, kD = 256, kStreams = 4 * kD;

std::string stream_key(int layer) {
  return std::to_string(layer) + "/ple_inject/" + (layer < 19 ? "streams" : "out_streams");
}

TEST(AppendixA, EveryPublishedRowOfThePopulationVariant) {
  const auto m = appendix_a_model(false);
  const Plan plan = plan_of(*m);
  Recorder seen(plan);
  Runner runner(plan, {});
  const auto logits = runner.run_all(kAppendixAIds, &seen);

  expect_row(seen.at("-1/embed/embedding"), kLast * kD, {-0.689058, -0.493655, -0.309678, 0.073166}, "E");
  const auto& ple = seen.at("-1/ple_combine/ple");
  expect_row(ple, ple.size() / 20 * kLast, {1.059654, 0.990907, 0.376836}, "ple_0");
  const auto& upper = seen.at("-1/ple_combine/out_ple");
  expect_row(upper, upper.size() / 20 * kLast + 5 * kD, {0.794609, -0.682777, 0.354737}, "ple_24");
  const auto& init = seen.at("-1/altup_init/streams");
  expect_row(init, kLast * kStreams + 1 * kD, {0.367173, 0.003474, 0.277529}, "initial S_1");
  expect_row(init, kLast * kStreams + 2 * kD, {-0.077075, 0.745535, 0.698573}, "initial S_2");
  expect_row(init, kLast * kStreams + 3 * kD, {-0.398245, 1.013119, -0.042746}, "initial S_3");

  const auto stream = [&](int layer, std::size_t j, std::initializer_list<double> want) {
    expect_row(seen.at(stream_key(layer)), kLast * kStreams + j * kD, want,
               "after layer " + std::to_string(layer) + ": S_" + std::to_string(j));
  };
  stream(0, 0, {-0.805345, -1.185755, 1.663793});
  stream(0, 1, {-0.832705, 0.075999, 2.213949});
  stream(0, 2, {-1.283138, 0.824814, 2.603306});
  stream(0, 3, {-1.601906, 1.086448, 1.869827});
  stream(4, 0, {5.933982, 1.512813, -0.521823});
  stream(9, 0, {8.563915, -1.303669, 1.836583});
  stream(18, 0, {7.287402, -0.437041, 0.681664});
  stream(19, 0, {8.179602, 0.664099, 0.429476});
  stream(20, 0, {6.299403, 0.221044, 1.266613});
  stream(24, 0, {5.682677, 0.798514, 0.633687});
  stream(24, 3, {4.135093, 3.119667, -4.516574});

  expect_row(logits[0], 0, {1.539635, -0.606280, 0.396692, 0.619141}, "logits, position 0");
  expect_row(logits[kLast], 0, {-0.275715, 0.549504, 0.754400, 0.394134, -0.101252, 0.486310}, "logits, position 19");
  EXPECT_NEAR(std::accumulate(logits[kLast].begin(), logits[kLast].end(), 0.0), 9.52965, 320 * kTolerance);
  const std::size_t want[20] = {0,   171, 62,  72,  96,  128, 180, 211, 43,  177,
                                111, 173, 280, 262, 319, 266, 164, 254, 233, 27};
  for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(argmax(logits[i]), want[i]) << "position " << i;
}

TEST(AppendixA, TheSampleDeviationVariantIsLlamaCpps) {
  const auto m = appendix_a_model(true);
  const Plan plan = plan_of(*m);
  Recorder seen(plan);
  Runner runner(plan, {});
  const auto logits = runner.run_all(kAppendixAIds, &seen);
  expect_row(seen.at(stream_key(0)), kLast * kStreams, {-0.804486, -1.186875, 1.663907}, "after layer 0: S_0");
  expect_row(seen.at(stream_key(24)), kLast * kStreams + 3 * kD, {4.148610, 3.977818, -3.433754},
             "after layer 24: S_3");
  expect_row(logits[kLast], 0, {-0.352487, 0.707008, 0.624315, 0.462242, -0.097076, 0.597772}, "logits, position 19");
  const std::size_t want[20] = {0,  171, 62,  72,  96,  128, 180, 211, 215, 177,
                                76, 153, 280, 306, 319, 266, 164, 85,  101, 27};
  for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(argmax(logits[i]), want[i]) << "position " << i;
}

class SameBits : public ::testing::TestWithParam<std::string> {};

TEST_P(SameBits, TokenByTokenChunkedAndCutEqualOneBatch) {
  const auto m = appendix_a_model(false);
  const Plan plan = plan_of(*m);
  const auto whole = Runner(plan, {.device = GetParam()}).run_all(kAppendixAIds);

  Runner single(plan, {.device = GetParam()});
  for (std::size_t i = 0; i < kAppendixAIds.size(); ++i) {
    const auto one = single.run({{0, {kAppendixAIds[i]}, {0}}});
    EXPECT_EQ(one[0], whole[i]) << "token by token, position " << i;
  }
  for (std::size_t chunk : {3u, 7u, 16u}) {
    Runner chunked(plan, {.device = GetParam(), .max_rows = 16, .max_output_rows = 1});
    std::vector<float> last;
    for (std::size_t at = 0; at < kAppendixAIds.size(); at += chunk) {
      const std::size_t n = std::min(chunk, kAppendixAIds.size() - at);
      const bool final_chunk = at + n == kAppendixAIds.size();
      std::vector<std::size_t> outputs;
      if (final_chunk) outputs.push_back(n - 1);
      const auto out = chunked.run({{0,
                                     {kAppendixAIds.begin() + static_cast<std::ptrdiff_t>(at),
                                      kAppendixAIds.begin() + static_cast<std::ptrdiff_t>(at + n)},
                                     outputs}});
      if (final_chunk) last = out[0];
    }
    EXPECT_EQ(last, whole[kLast]) << "chunks of " << chunk << ", upper layers for the last row only";
  }
}

TEST_P(SameBits, OneSequenceOrSixteen) {
  const auto m = appendix_a_model(false);
  const Plan plan = plan_of(*m);
  constexpr std::size_t kSequences = 16;
  std::vector<std::vector<TokenId>> ids(kSequences);
  for (std::size_t s = 0; s < kSequences; ++s)
    for (std::size_t i = 0; i < 4 + s % 5; ++i) ids[s].push_back(static_cast<TokenId>((s * 37 + i * 11) % 320));
  std::vector<std::vector<float>> alone;
  for (const auto& line : ids) {
    Runner one(plan, {.device = GetParam()});
    alone.push_back(one.run({{0, line, {line.size() - 1}}})[0]);
    const auto next = one.run({{0, {7}, {0}}});
    alone.push_back(next[0]);
  }
  Runner many(plan, {.device = GetParam(), .max_rows = 128, .max_output_rows = 16, .max_sequences = kSequences});
  std::vector<Runner::Chunk> first, second;
  for (std::size_t s = 0; s < kSequences; ++s) {
    first.push_back({s, ids[s], {ids[s].size() - 1}});
    second.push_back({s, {7}, {0}});
  }
  const auto a = many.run(first), b = many.run(second);
  for (std::size_t s = 0; s < kSequences; ++s) {
    EXPECT_EQ(a[s], alone[2 * s]) << "sequence " << s;
    EXPECT_EQ(b[s], alone[2 * s + 1]) << "sequence " << s << ", next token";
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, SameBits, ::testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (std::string_view name : backend_names()) names.emplace_back(name);
                           return names;
                         }()));

}  // namespace
}  // namespace unicorn
