// The options of commands that generate text.
#pragma once

#include <CLI/CLI.hpp>

#include "engine/engine.h"

namespace unicorn {

void add_generate_options(CLI::App& app, GenerateOptions& options);  // all but `cancel`

}  // namespace unicorn
