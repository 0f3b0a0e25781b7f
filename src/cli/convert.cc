// unicorn convert: any model the engine reads as one GGUF file, quantised on the way if asked.
#include <fmt/core.h>

#include <memory>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "tools/convert_model.h"

namespace unicorn {

Action add_convert(CLI::App& app) {
  struct Arguments {
    ConvertModelOptions options;
    std::string model, out;
    bool json = false;
  };
  auto a = std::make_shared<Arguments>();
  add_model_argument(app, a->model);
  add_text(app, "--type", "TYPE", a->options.type,
           "q4_0, q4_k_m, q8_0, bf16, … (default: every matrix keeps its type)");
  add_text(app, "--out", "FILE", a->out, "The .gguf file to write")->required();
  add_count(app, "--threads", a->options.n_threads, "Threads (default: one per core)", 1, 1024);
  app.add_flag("--json", a->json, "Print what was written as JSON");
  return [a]() -> int {
    const auto path = find_model_or_demo(a->model);
    if (!path.ok()) return fail(path.error());
    a->options.model = *path;
    a->options.out = a->out;
    Interrupt interrupt;
    ProgressLine line;
    a->options.progress = [&](double fraction) {
      line.show_bar("writing " + a->out, fraction);
      return !interrupt.requested();
    };
    const Result<ConvertedModel> made = convert_model(a->options);
    line.clear();
    if (!made.ok()) return made.error().code == ErrorCode::cancelled ? kExitInterrupted : fail(made.error());
    if (a->json)
      write_json({{"path", a->out}, {"tensors", made->n_tensors}, {"bytes", made->n_bytes}});
    else
      note("{}: {} tensors, {}", a->out, made->n_tensors, human_bytes(made->n_bytes));
    return kExitOk;
  };
}

}  // namespace unicorn
