// unicorn generate: a model of full size with random weights, to try memory, loading and speed on.
#include <fmt/core.h>

#include <chrono>
#include <memory>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "tools/generate_model.h"

namespace unicorn {

Action add_generate(CLI::App& app) {
  struct Arguments {
    GenerateModelOptions model;
    std::string tokenizer, out;
    bool json = false;
  };
  auto a = std::make_shared<Arguments>();
  add_choice(app, "--shape",
             "Whose sizes: e2b, e4b (Gemma 3n), gemma3-270m, gemma3-1b, gemma3-4b, or tiny (default: e2b)",
             {"e2b", "e4b", "gemma3-270m", "gemma3-1b", "gemma3-4b", "tiny"},
             [a](const std::string& shape) { a->model.shape = shape; });
  add_choice(app, "--format", "gguf or safetensors (default: gguf)", {"gguf", "safetensors"},
             [a](const std::string& format) {
               a->model.format = format == "gguf" ? ModelFormat::gguf : ModelFormat::safetensors;
             });
  add_text(app, "--type", "TYPE", a->model.type,
           "q4_0, q4_k_m, q8_0, bf16, …; safetensors: bf16, f16 or f32 (default: q4_0)");
  add_count(app, "--seed", a->model.seed, "The same seed gives the same weights in every format and type (default: 1)",
            0, UINT64_MAX);
  add_text(app, "--tokenizer", "FILE", a->tokenizer,
           "A tokenizer.json to put in; without one the model takes ids alone");
  app.add_flag("--towers", a->model.towers,
               "With small vision and audio towers, which are skipped when run (safetensors)");
  add_count(app, "--shards", a->model.n_shards, "Split into about N files (safetensors; default: 1)", 1, 1000);
  add_count(app, "--threads", a->model.n_threads, "Threads (default: one per core)", 1, 1024);
  add_text(app, "--out", "PATH", a->out, "The .gguf file, or the folder for safetensors")->required();
  app.add_flag("--json", a->json, "Print what was written as JSON");
  return [a]() -> int {
    a->model.tokenizer = a->tokenizer;
    a->model.out = a->out;
    Interrupt interrupt;
    ProgressLine line;
    a->model.progress = [&](double fraction) {
      line.show_bar("writing " + a->out, fraction);
      return !interrupt.requested();
    };
    const auto start = std::chrono::steady_clock::now();
    const Result<GeneratedModel> made = generate_model(a->model);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    line.clear();
    if (!made.ok()) return made.error().code == ErrorCode::cancelled ? kExitInterrupted : fail(made.error());
    if (a->json) {
      write_json({{"path", a->out},
                  {"parameters", made->n_parameters},
                  {"tensors", made->n_tensors},
                  {"bytes", made->n_bytes},
                  {"seconds", seconds}});
    } else {
      note("{}: {:.2f} billion parameters, {} tensors, {} in {:.1f} s", a->out,
           static_cast<double>(made->n_parameters) / 1e9, made->n_tensors, human_bytes(made->n_bytes), seconds);
    }
    return kExitOk;
  };
}

}  // namespace unicorn
