// unicorn tokenize: text to token ids, without touching weights.
#include <fmt/format.h>

#include <memory>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "engine/model_files.h"
#include "text/tokenizer.h"

namespace unicorn {

namespace {

struct TokenizeOptions {
  std::string model;
  std::optional<std::string> file, text;
  bool json = false, bos = false, special = true;
};

void print_table(const Tokenizer& tokenizer, std::span<const TokenId> ids) {
  for (const TokenId id : ids)
    print("{:>8}  {}{}\n", id, dump_json(Json(tokenizer.piece_bytes(id))), tokenizer.is_control(id) ? "  control" : "");
  note("{} tokens", ids.size());
}

int run(const TokenizeOptions& options) {
  if (!options.file && !options.text && stdin_is_terminal())
    return fail_usage("no text: give one with --text TEXT or -f FILE, or pipe it in");
  std::string text;
  if (options.text) {
    text = *options.text;
  } else {
    Result<std::string> read = read_text(options.file.value_or("-"));
    if (!read.ok()) return fail(read.error());
    text = std::move(read).value();
  }
  const Result<std::filesystem::path> path = find_model_or_demo(options.model);
  if (!path.ok()) return fail(path.error());
  const Result<Tokenizer> tokenizer = load_tokenizer(*path);
  if (!tokenizer.ok()) return fail(tokenizer.error());
  const std::vector<TokenId> ids = tokenizer->encode(text, {.add_bos = options.bos, .parse_special = options.special});
  if (options.json)
    write_json(Json{{"ids", ids}});
  else
    print_table(*tokenizer, ids);
  return kExitOk;
}

}  // namespace

Action add_tokenize(CLI::App& app) {
  auto options = std::make_shared<TokenizeOptions>();
  app.add_option("MODEL", options->model, "A model, or a bare tokenizer.json (default: the demo)")->type_name("");
  CLI::Option* file =
      add_text(app, "-f,--file", "FILE", options->file, "The text is in a file, taken as it is; - is standard input");
  add_text(app, "-t,--text", "TEXT", options->text, "The text")->excludes(file);
  app.add_flag("--special,!--no-special", options->special,
               "Control tokens written in the text count as such (default), or are plain text");
  app.add_flag("--bos", options->bos, "Put the BOS token in front");
  app.add_flag("--json", options->json, "Print JSON, and nothing else, on stdout");
  app.footer(
      "Examples:\n"
      "  unicorn tokenize --text 'Hello, world!'\n"
      "  unicorn tokenize tokenizer.json -f book.txt --json\n"
      "  unicorn tokenize model.gguf --text '<end_of_turn>' --no-special");
  return [options] { return run(*options); };
}

}  // namespace unicorn
