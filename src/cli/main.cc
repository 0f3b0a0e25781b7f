// unicorn: finds the command, parses its options, runs it. Everything that is printed is printed from this folder.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/help.h"
#include "cli/terminal.h"
#include "cli/version.h"

namespace unicorn {
namespace {

struct Command {
  std::string_view name, summary;
  Action (*add)(CLI::App&);
};

constexpr std::array kCommands = {
    Command{"run", "answer one prompt, or continue a text", add_run},
    Command{"chat", "talk with a model", add_chat},
    Command{"score", "log-probabilities of given tokens", add_score},
    Command{"perplexity", "how well a model predicts a text", add_perplexity},
    Command{"tokenize", "text to token ids", add_tokenize},
    Command{"inspect", "what is in a weight file", add_inspect},
    Command{"bench", "measure prefill and decode speed", add_bench},
    Command{"devices", "what this build can run on here", add_devices},
    Command{"compare", "find the first difference of two tensor dumps", add_compare},
    Command{"convert", "write a model as one GGUF file", add_convert},
    Command{"generate", "write a full-size model of random weights", add_generate},
};

void print_help() {
  print("Unicorn Execution Engine {}: runs Gemma 3n and Gemma 3 on this machine.\n\n", version());
  print("Usage: unicorn COMMAND [MODEL] [OPTIONS]\n\nCommands:\n");
  for (const Command& command : kCommands) print("  {:<12} {}\n", command.name, command.summary);
  print(
      "\n"
      "MODEL is a .gguf or .safetensors file, a model folder, or the name of one in the model folder\n"
      "($UNICORN_MODELS, else ~/.local/share/unicorn/models). Without one, a tiny demo model is used.\n\n"
      "Examples:\n"
      "  unicorn run --chat --prompt 'What does \"river\" mean?'\n"
      "  unicorn chat gemma-3n-E2B-it-Q4_0.gguf\n"
      "  unicorn COMMAND --help\n");
}

int unknown_command(std::string_view word) {
  std::vector<std::string> names;
  for (const Command& command : kCommands) names.emplace_back(command.name);
  const std::string near = nearest(word, names);
  return fail_usage(fmt::format("'{}' is not a command{}; 'unicorn --help' lists them", word,
                                near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
}

// What CLI11 did not recognise. An unknown flag comes first: a value after it may have been taken for MODEL.
std::string describe_extra(const CLI::App& app, const std::vector<std::string>& extras) {
  const auto is_flag = [](const std::string& word) { return word.size() > 1 && word[0] == '-'; };
  const auto flag = std::find_if(extras.begin(), extras.end(), is_flag);
  if (flag == extras.end())
    return fmt::format("unexpected argument '{}'{}", extras.front(),
                       app.get_name() == "run" ? " (a prompt is given with --prompt)" : "");
  std::vector<std::string> known;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    for (const std::string& name : option->get_snames()) known.push_back("-" + name);
  }
  const std::string name = flag->substr(0, flag->find('='));
  const std::string near = name.starts_with("--") ? nearest(name, known) : std::string{};
  return fmt::format("unknown option '{}'{}", name, near.empty() ? "" : fmt::format("; did you mean {}?", near));
}

int run_command(const Command& command, std::vector<std::string> arguments) {
  CLI::App app(std::string(command.summary), std::string(command.name));
  set_help_style(app);
  app.allow_extras();
  const Action action = command.add(app);
  const std::string hint = fmt::format("see 'unicorn {} --help'", command.name);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
  try {
    app.parse(arguments);
  } catch (const CLI::CallForHelp&) {
    print("{}", app.help());
    return finish_output(kExitOk);
  } catch (const CLI::ParseError& error) {
    if (const auto extras = app.remaining(); !extras.empty())
      return fail_usage(fmt::format("{}; {}", describe_extra(app, extras), hint));
    return fail_usage(fmt::format("{}; {}", error.what(), hint));
  }
  if (const auto extras = app.remaining(); !extras.empty())
    return fail_usage(fmt::format("{}; {}", describe_extra(app, extras), hint));
  return finish_output(action());
}

int run(std::vector<std::string> arguments) {
  if (arguments.empty()) {
    print_help();
    return finish_output(kExitUsage);
  }
  std::string word = arguments.front();
  arguments.erase(arguments.begin());
  if (word == "help" && !arguments.empty() && !arguments.front().starts_with('-')) {  // "help run"
    word = arguments.front();
    arguments = {"--help"};
  }
  if (word == "--help" || word == "-h" || word == "help") {
    print_help();
    return finish_output(kExitOk);
  }
  if (word == "--version" || word == "-V") {
    print("unicorn {} ({})\n", version(), commit());
    return finish_output(kExitOk);
  }
  for (const Command& command : kCommands)
    if (command.name == word) return run_command(command, std::move(arguments));
  return unknown_command(word);
}

}  // namespace
}  // namespace unicorn

int main(int argc, char** argv) { return unicorn::run({argv + 1, argv + std::max(argc, 1)}); }
