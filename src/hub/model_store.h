// Model names: where a model that somebody named lies on this machine.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace unicorn {

// The folder of models that are found by name: $UNICORN_MODELS, else $XDG_DATA_HOME/unicorn/models, else
// ~/.local/share/unicorn/models.
std::filesystem::path model_folder();

// The embedded demo model: $UNICORN_DEMO_MODEL, else share/unicorn/models/gemma3n-demo beside the program or one
// level above it. Error: not_found, naming the places looked at.
Result<std::filesystem::path> demo_model();

// `model` is a file, a folder, or the name of an entry of model_folder() ("gemma-3n-e2b" finds that folder, or
// gemma-3n-e2b.gguf); empty or "demo": the demo model. Error: not_found, with what was tried and what there is.
Result<std::filesystem::path> find_model(std::string_view model);

std::vector<std::string> list_models();  // names in model_folder(), sorted

}  // namespace unicorn
