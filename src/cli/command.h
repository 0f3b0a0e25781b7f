// The subcommands. Each declares its options on an empty `app` and returns what runs once they are parsed: an exit
// code comes back. A file per command.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace unicorn {

using Action = std::function<int()>;

Action add_run(CLI::App& app);
Action add_chat(CLI::App& app);
Action add_score(CLI::App& app);
Action add_perplexity(CLI::App& app);
Action add_tokenize(CLI::App& app);
Action add_inspect(CLI::App& app);
Action add_bench(CLI::App& app);
Action add_devices(CLI::App& app);
Action add_compare(CLI::App& app);
Action add_generate(CLI::App& app);
Action add_convert(CLI::App& app);

}  // namespace unicorn
