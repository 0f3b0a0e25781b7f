// config.json of a model as Hugging Face's transformers reads it; the inverse of config_from_hf.
#pragma once

#include "core/json.h"
#include "model/config.h"

namespace unicorn {

// `multimodal`: the language model's fields nested in text_config beside (empty) towers' configurations, as published
// Gemma 3n and larger Gemma 3 checkpoints have them; else a text-only export.
Json hugging_face_config(const ModelConfig& config, bool multimodal);

}  // namespace unicorn
