// Where a prompt comes from, on run and score: --prompt, --prompt-file, --ids, or piped standard input.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/result.h"
#include "core/token_id.h"

namespace unicorn {

struct PromptOptions {
  std::optional<std::string> text, file, ids;
};
CLI::Option* add_prompt_options(CLI::App& app, PromptOptions& options);  // returns that of --ids

// The prompt: text, or ids to be taken as they are. A newline that ends a file or standard input is not part of it.
// Errors: invalid_argument when there is none (then the caller was used wrongly), and those of reading it.
using Prompt = std::variant<std::string, std::vector<TokenId>>;
Result<Prompt> read_prompt(const PromptOptions& options);

// The exit code of a prompt that could not be read.
int fail_prompt(const PromptOptions& options, const Error& error);

}  // namespace unicorn
