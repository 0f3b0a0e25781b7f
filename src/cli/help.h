// How --help looks.
#pragma once

#include <CLI/CLI.hpp>

namespace unicorn {

void set_help_style(CLI::App& app);

}  // namespace unicorn
