#include "model/config.h"

#include <gtest/gtest.h>

namespace unicorn {
namespace {

constexpr const char* kTiny3n = R"({"model_type": "gemma3n_text", "hidden_size": 64, "num_hidden_layers": 12,
  "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 128, "vocab_size": 100,
  "vocab_size_per_layer_input": 90, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 4, "laurel_rank": 4,
  "sliding_window": 16, "max_position_embeddings": 256,
  "matformer": {"intermediate_size": 64, "skip_layers": [8, 9]}})";

ModelConfig tiny() { return config_from_hf(*parse_json(kTiny3n, "config.json"), "config.json").value(); }

Result<ModelConfig> with(const char* key, const Json& value) {
  Json json = *parse_json(kTiny3n, "config.json");
  json[key] = value;
  return config_from_hf(json, "config.json");
}

TEST(ConfigFromHf, ScalarsBroadcastAndAbsentFieldsTakeHuggingFacesDefaults) {
  const ModelConfig c = tiny();
  EXPECT_EQ(c.family, Family::gemma3n);
  ASSERT_EQ(c.layers.size(), 12u);
  EXPECT_EQ(c.layers[11].d_ff, 128u);
  EXPECT_TRUE(c.layers[3].sliding);
  EXPECT_FALSE(c.layers[4].sliding) << "period 5";
  EXPECT_TRUE(c.layers[9].sparsity_z.has_value()) << "null: 0.95 on the first ten layers";
  EXPECT_FALSE(c.layers[10].sparsity_z.has_value());
  EXPECT_EQ(*c.layers[0].sparsity_z, 1.6448533535003662f) << "what GGUF files carry";
  EXPECT_EQ(c.final_softcap, 30.0f);
  EXPECT_EQ(c.first_shared(), 8u);
  EXPECT_EQ(c.rope_full.theta, 1e6f);
  EXPECT_EQ(c.rope_sliding.theta, 1e4f);
}

// torch 2.13: Normal(0, 1).icdf(torch.tensor(p)); 0.95 as PyTorch without MKL's erfinv has it.
TEST(ConfigFromHf, SparsityIsTheQuantileThatPyTorchComputes) {
  for (const auto& [p, z] :
       {std::pair{0.5, 0.0f}, {0.9, 1.281551480293274f}, {0.95, 1.6448533535003662f}, {0.99, 2.326348304748535f}}) {
    const auto c = with("activation_sparsity_pattern", p);
    ASSERT_TRUE(c.ok()) << c.error().message;
    EXPECT_EQ(*c->layers[0].sparsity_z, z) << p;
  }
  EXPECT_FALSE(with("activation_sparsity_pattern", 0.0)->layers[0].sparsity_z.has_value());
  for (const double p : {1.0, 0.99999999999, -0.1, 1e-9, 1e-46})
    EXPECT_FALSE(with("activation_sparsity_pattern", p).ok()) << p;
}

TEST(ConfigFromHf, BothSpellingsOfRope) {
  const auto nested =
      with("rope_parameters", Json{{"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 5e5}}},
                                   {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 2e4}}}});
  ASSERT_TRUE(nested.ok()) << nested.error().message;
  EXPECT_EQ(nested->rope_full.theta, 5e5f);
  EXPECT_EQ(nested->rope_full.freq_scale, 0.125f);
  EXPECT_EQ(nested->rope_sliding.theta, 2e4f);
  EXPECT_EQ(with("rope_local_base_freq", 3e4)->rope_sliding.theta, 3e4f);
  EXPECT_FALSE(with("rope_scaling", Json{{"rope_type", "yarn"}, {"factor", 4}}).ok());
}

TEST(ConfigFromHf, NonsenseIsNamed) {
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, Json>>{{"hidden_size", 0},
                                                 {"hidden_size", -3},
                                                 {"hidden_size", "64"},
                                                 {"num_hidden_layers", 100000},
                                                 {"intermediate_size", Json::array({1, 2})},
                                                 {"intermediate_size", 0},
                                                 {"layer_types", Json::array({"sliding"})},
                                                 {"num_kv_shared_layers", 12},
                                                 {"num_key_value_heads", 3},
                                                 {"head_dim", 15},
                                                 {"rms_norm_eps", 0},
                                                 {"activation_sparsity_pattern", Json::array({0.95})},
                                                 {"altup_active_idx", 1},
                                                 {"hidden_activation", "relu"},
                                                 {"sliding_window", 0},
                                                 {"model_type", "llama"}}) {
    const auto c = with(key, value);
    ASSERT_FALSE(c.ok()) << key << " = " << value;
    EXPECT_EQ(c.error().message.rfind("config.json", 0), 0u) << c.error().message;
  }
}

std::string error_of(ModelConfig& c, std::string_view spec) {
  const Status status = apply_slice(c, spec);
  return status.ok() ? "" : status.error().message;
}

TEST(Slice, SmallIsTheOneTheFileNames) {
  ModelConfig c = tiny();
  EXPECT_EQ(error_of(c, "small"), "");
  EXPECT_EQ(c.n_layers(), 10u);
  EXPECT_EQ(c.layers[8].source, 10u);
  EXPECT_EQ(c.layers[8].d_ff, 64u);
  EXPECT_EQ(c.layers[8].d_ff_in_file, 128u);
  EXPECT_EQ(c.n_kv_shared, 2u);
  EXPECT_FALSE(c.layers[8].sparsity_z.has_value()) << "sparsity stays with the layer it was trained on";
}

TEST(Slice, ListsAndRanges) {
  ModelConfig c = tiny();
  EXPECT_EQ(error_of(c, "ffn=64,128@0-1,32@11,skip=8-9,10"), "");
  ASSERT_EQ(c.n_layers(), 9u);
  EXPECT_EQ(c.layers[1].d_ff, 128u);
  EXPECT_EQ(c.layers[2].d_ff, 64u);
  EXPECT_EQ(c.layers[8].source, 11u);
  EXPECT_EQ(c.layers[8].d_ff, 32u);
  ModelConfig d = tiny();
  EXPECT_EQ(error_of(d, "ffn=1,2,3,4,5,6,7,8,9,10,11,12"), "");
  EXPECT_EQ(d.layers[6].d_ff, 7u);
}

TEST(Slice, WhatCannotBeIsToldWithItsReason) {
  for (const auto& [spec, why] : std::vector<std::pair<const char*, const char*>>{{"e2b", "E4B"},
                                                                                  {"ffn=256", "width 128"},
                                                                                  {"ffn=0", "not a width"},
                                                                                  {"skip=12", "below 12"},
                                                                                  {"skip=9-8", "range"},
                                                                                  {"skip=7", "K and V"},
                                                                                  {"skip=4", "K and V"},
                                                                                  {"ffn=1,2", "2 widths for 12"},
                                                                                  {"half", "expected full"},
                                                                                  {"skip=0-11", "K and V"}}) {
    ModelConfig c = tiny();
    EXPECT_NE(error_of(c, spec).find(why), std::string::npos) << spec << ": " << error_of(c, spec);
  }
  ModelConfig gemma3;
  EXPECT_NE(error_of(gemma3, "small").find("not a MatFormer"), std::string::npos);
}

}  // namespace
}  // namespace unicorn
