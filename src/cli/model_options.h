// The options of every command that runs a model, and the loading that follows from them.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cli/interrupt.h"
#include "core/result.h"
#include "engine/engine.h"
#include "tools/dump.h"

namespace unicorn {

struct ModelOptions {
  std::string model;  // file, folder or name; empty: the demo
  EngineOptions engine;  // all but `model` and `progress`
  bool json = false;
};
void add_model_options(CLI::App& app, ModelOptions& options);
void add_model_argument(CLI::App& app, std::string& model);

// Finds the model; says on stderr when it is the demo because none was named. Errors: those of find_model.
Result<std::filesystem::path> find_model_or_demo(const std::string& model);

// Loads, with a progress bar when it takes long. Errors: those of find_model and Engine::load; cancelled.
Result<std::unique_ptr<Engine>> load_engine(const ModelOptions& options, const Interrupt& interrupt);

// --dump-tensors and --dump-dir, on run and score.
struct DumpOptions {
  std::optional<std::string> folder;
  std::optional<DumpFilter> filter;  // all, unless given
};
void add_dump_options(CLI::App& app, DumpOptions& options);
// Starts dumping if that was asked for; null if not. The dump must live as long as the engine runs.
Result<std::unique_ptr<TensorDump>> start_dump(Engine& engine, const DumpOptions& options);
// Says how many files were written, or why not all were. `dump` may be null.
Status finish_dump(Engine& engine, const TensorDump* dump, const DumpOptions& options);

}  // namespace unicorn
