#include "cli/model_options.h"

#include <fmt/format.h>

#include "cli/options.h"
#include "cli/terminal.h"
#include "hub/model_store.h"

namespace unicorn {

namespace {

constexpr std::uint64_t kMaxThreads = 1024;
constexpr std::uint64_t kMaxContext = std::uint64_t{1} << 30;

std::vector<std::string> weight_types() {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < kNDTypes; ++i) names.emplace_back(dtype_name(static_cast<DType>(i)));
  return names;
}

}  // namespace

void add_model_argument(CLI::App& app, std::string& model) {
  app.add_option("MODEL", model,
                 "A .gguf or .safetensors file, a model folder, or a name in the model folder (default: the demo)")
      ->type_name("");
}

void add_model_options(CLI::App& app, ModelOptions& options) {
  EngineOptions& engine = options.engine;
  add_model_argument(app, options.model);
  add_choice(app, "--weights", "Run the weights in this type (default: as the file has them)", weight_types(),
             [&engine](const std::string& name) { engine.weights = dtype_from_name(name); })
      ->type_name("TYPE")
      ->group("Model");
  add_text(app, "--slice", "SPEC", engine.slice,
           "MatFormer slice: full, e2b, small, or ffn=512,skip=5-9 (default: full)")
      ->group("Model");
  add_text(app, "--device", "NAME", engine.device,
           "Where to run: auto, cpu, reference, or reference@0-3,cpu (default: auto)")
      ->group("Model");
  add_count(app, "--threads", engine.n_threads, "Threads (default: one per core)", 1, kMaxThreads)->group("Model");
  add_count(app, "--ctx", engine.n_ctx, "Positions the context holds (default: the model's, at most 8192)", 1,
            kMaxContext)
      ->group("Model");
  add_choice(app, "--kv", "Type of the KV cache: f16, q8_0, f32 or bf16 (default: f16)", {"f16", "q8_0", "f32", "bf16"},
             [&engine](const std::string& name) { engine.kv = *dtype_from_name(name); })
      ->type_name("TYPE")
      ->group("Model");
  add_choice(
      app, "--precision", "Rounding between operators: f32, or bf16 as Hugging Face does (default: f32)",
      {"f32", "bf16"},
      [&engine](const std::string& name) { engine.precision = name == "bf16" ? Precision::bf16 : Precision::f32; })
      ->type_name("TYPE")
      ->group("Model");
  app.add_flag("--json", options.json, "Print JSON, and nothing else, on stdout");
}

Result<std::filesystem::path> find_model_or_demo(const std::string& model) {
  UNICORN_ASSIGN(std::filesystem::path path, find_model(model));
  if (model.empty())
    note(
        "unicorn: no model was named, so this is the embedded demo: a tiny model (21 M parameters) to try things with; "
        "most of what it says is wrong");
  return path;
}

Result<std::unique_ptr<Engine>> load_engine(const ModelOptions& options, const Interrupt& interrupt) {
  EngineOptions engine = options.engine;
  UNICORN_ASSIGN(const std::filesystem::path path, find_model_or_demo(options.model));
  engine.model = path.string();
  ProgressLine line;
  const std::string label = fmt::format("loading {}", path.filename().string());
  engine.progress = [&](double fraction) {
    line.show_bar(label, fraction);
    return !interrupt.requested();
  };
  return Engine::load(std::move(engine));
}

void add_dump_options(CLI::App& app, DumpOptions& options) {
  add_text(app, "--dump-dir", "DIR", options.folder,
           "Write what every step computes to DIR, as .npy files (see unicorn compare)")
      ->group("Looking inside");
  add_parsed(app, "--dump-tensors", "FILTER",
             "Only those: layer=3,op=attention,tensor=ffn_norm (layer=2-5, in, out; default: all)",
             [&options](const std::string& text) -> Status {
               UNICORN_ASSIGN(options.filter, parse_dump_filter(text));
               return Ok{};
             })
      ->needs("--dump-dir")
      ->group("Looking inside");
}

Result<std::unique_ptr<TensorDump>> start_dump(Engine& engine, const DumpOptions& options) {
  if (!options.folder) return std::unique_ptr<TensorDump>{};
  UNICORN_ASSIGN(std::unique_ptr<TensorDump> dump,
                 TensorDump::create(engine.plan(), *options.folder, options.filter.value_or(DumpFilter{})));
  engine.observe(dump.get());
  return dump;
}

Status finish_dump(Engine& engine, const TensorDump* dump, const DumpOptions& options) {
  if (dump == nullptr) return Ok{};
  engine.observe(nullptr);
  UNICORN_TRY(Status(dump->status()));
  note("dump: {} tensors in {}", dump->n_files(), *options.folder);
  return Ok{};
}

}  // namespace unicorn
