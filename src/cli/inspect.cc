// unicorn inspect: what is in a weight file.
#include "tools/inspect.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/terminal.h"

namespace unicorn {

namespace {

struct InspectOptions {
  std::string model, match;
  bool json = false, tensors = false, metadata = false;

  bool everything() const { return !tensors && !metadata; }
};

// "1024", or "4096 × 5, 8192 × 30" for a list whose neighbours repeat.
std::string runs(const Json& list) {
  std::string text;
  for (std::size_t i = 0; i < list.size();) {
    std::size_t end = i;
    while (end < list.size() && list[end] == list[i]) ++end;
    const bool all = i == 0 && end == list.size();
    text += fmt::format("{}{}{}", i == 0 ? "" : ", ", list[i].dump(), all ? "" : fmt::format(" × {}", end - i));
    i = end;
  }
  return text;
}

std::size_t n_true(const Json& list) {
  return static_cast<std::size_t>(std::count(list.begin(), list.end(), Json(true)));
}

void print_config(const Inspection& file) {
  if (!file.config) {
    print("architecture: not recognised ({})\n", file.config_error);
    return;
  }
  const Json c = config_to_json(*file.config);
  const ModelConfig& m = *file.config;
  print("architecture: {}\n", family_name(m.family));
  print("  n_layers {} ({} sliding with a window of {}), n_ctx {}\n", m.n_layers(), n_true(c["sliding"]), m.window,
        m.n_ctx);
  print("  d_model {}, n_heads {}, n_kv_heads {}, head_dim {}, n_vocab {}{}\n", m.d_model, m.n_heads, m.n_kv_heads,
        m.head_dim, m.n_vocab, m.tied_head ? ", head tied to the embedding" : "");
  print("  d_ff {}\n", runs(c["d_ff"]));
  if (m.family == Family::gemma3n) {
    print("  {} layers with a sparse FFN, the last {} share K and V\n", n_true(c["sparse_ffn"]), m.n_kv_shared);
    print("  {} AltUp streams, Laurel rank {}, per-layer embeddings of {} for {} tokens\n", m.n_streams, m.laurel_rank,
          m.ple_width, m.n_ple_vocab);
  }
  if (m.small)
    unicorn::print("  slice 'small': d_ff {}, without layers {}\n", m.small->d_ff, fmt::join(m.small->skip, ","));
}

bool matches(const InspectOptions& options, std::string_view name) {
  return name.find(options.match) != std::string_view::npos;
}

std::string shown_value(const Json& value) {
  constexpr std::size_t kLongest = 100;  // bytes; chat templates are pages long
  if (value.is_object()) return fmt::format("{} entries: {} …", value["n"].dump(), dump_json(value["first"]));
  std::string text = dump_json(value);
  if (text.size() <= kLongest) return text;
  std::size_t end = kLongest;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // not inside a code point
  return fmt::format("{}… ({} bytes)", text.substr(0, end), text.size());
}

void print_metadata(const Inspection& file, const InspectOptions& options) {
  print("metadata: {} keys\n", file.metadata.size());
  for (const auto& [key, value] : file.metadata.items())
    if (matches(options, key)) print("  {} = {}\n", shown_text(key), shown_value(value));
}

void print_tensors(const Inspection& file, const InspectOptions& options) {
  std::size_t width = 4;
  for (const Inspection::Tensor& t : file.tensors)
    if (matches(options, t.name)) width = std::max(width, t.name.size());
  const bool several = file.files.size() > 1;
  print("tensors: {}\n", file.tensors.size());
  if (!file.tensors.empty())
    print("  {:<{}}  {:<7} {:<20} {:>12} {:>14}{}\n", "name", width, "dtype", "shape", "bytes", "offset",
          several ? "  file" : "");
  for (const Inspection::Tensor& t : file.tensors) {
    if (!matches(options, t.name)) continue;
    if (!t.usable) {
      print("  {:<{}}  {:<7} (not usable)\n", shown_text(t.name), width, t.dtype);
      continue;
    }
    print("  {:<{}}  {:<7} {:<20} {:>12} {:>14}{}\n", shown_text(t.name), width, t.dtype,
          fmt::format("[{}]", fmt::join(t.shape, ", ")), t.bytes, t.offset,
          several ? fmt::format("  {}", t.file + 1) : "");
  }
}

void print_totals(const Inspection& file) {
  std::uint64_t n_elements = 0, bytes = 0;
  for (const Inspection::Total& total : file.totals) n_elements += total.n_elements, bytes += total.bytes;
  print("totals:\n");
  for (const Inspection::Total& total : file.totals)
    print("  {:<7} {:>5} tensors {:>15} elements {:>10}  {:5.1f} %\n", total.dtype, total.n_tensors, total.n_elements,
          human_bytes(total.bytes),
          bytes > 0 ? 100.0 * static_cast<double>(total.bytes) / static_cast<double>(bytes) : 0.0);
  print("  {:<7} {:>5} tensors {:>15} elements {:>10}\n", "all", file.tensors.size(), n_elements, human_bytes(bytes));
}

void print_all(const Inspection& file, const InspectOptions& options) {
  if (options.everything()) {
    print("{}: {}, {} file{}\n", file.path, file.format, file.files.size(), file.files.size() == 1 ? "" : "s");
    if (file.files.size() > 1)
      for (std::size_t i = 0; i < file.files.size(); ++i)
        print("  {} {} ({})\n", i + 1, file.files[i].path, human_bytes(file.files[i].bytes));
    print_config(file);
  }
  if (options.metadata || options.everything()) print_metadata(file, options);
  if (options.tensors || options.everything()) print_tensors(file, options);
  if (options.everything()) print_totals(file);
}

Json to_json(const Inspection& file, const InspectOptions& options) {
  Json json{{"path", file.path}, {"format", file.format}};
  json["files"] = Json::array();
  for (const auto& f : file.files) json["files"].push_back(Json{{"path", f.path}, {"bytes", f.bytes}});
  json["config"] = file.config ? config_to_json(*file.config) : Json(nullptr);
  if (!file.config) json["config_error"] = file.config_error;
  if (options.metadata || options.everything()) {
    json["metadata"] = Json::object();
    for (const auto& [key, value] : file.metadata.items())
      if (matches(options, key)) json["metadata"][key] = value;
  }
  if (options.tensors || options.everything()) {
    json["tensors"] = Json::array();
    for (const Inspection::Tensor& t : file.tensors) {
      if (!matches(options, t.name)) continue;
      Json tensor{{"name", t.name}, {"dtype", t.dtype}, {"usable", t.usable}};
      if (t.usable) tensor.update(Json{{"shape", t.shape}, {"bytes", t.bytes}, {"offset", t.offset}, {"file", t.file}});
      json["tensors"].push_back(std::move(tensor));
    }
  }
  json["totals"] = Json::array();
  for (const Inspection::Total& t : file.totals)
    json["totals"].push_back(
        Json{{"dtype", t.dtype}, {"tensors", t.n_tensors}, {"elements", t.n_elements}, {"bytes", t.bytes}});
  return json;
}

int run(const InspectOptions& options) {
  const Result<std::filesystem::path> path = find_model_or_demo(options.model);
  if (!path.ok()) return fail(path.error());
  const Result<Inspection> file = inspect(*path);
  if (!file.ok()) return fail(file.error());
  if (options.json)
    write_json(to_json(*file, options));
  else
    print_all(*file, options);
  return kExitOk;
}

}  // namespace

Action add_inspect(CLI::App& app) {
  auto options = std::make_shared<InspectOptions>();
  app.add_option("FILE", options->model, "A .gguf or .safetensors file, or a folder or model name (default: the demo)")
      ->type_name("");
  app.add_flag("--tensors", options->tensors, "Only the table of tensors");
  app.add_flag("--metadata", options->metadata, "Only the metadata");
  add_text(app, "--match", "TEXT", options->match, "Only tensors and keys whose name contains TEXT");
  app.add_flag("--json", options->json, "Print JSON, and nothing else, on stdout");
  app.footer(
      "Examples:\n"
      "  unicorn inspect model.gguf\n"
      "  unicorn inspect model/ --tensors --match layers.3.\n"
      "  unicorn inspect model-00001-of-00004.gguf --json\n\n"
      "Reads the headers of any GGUF or safetensors file, whether or not the engine can run it; never the weights.");
  return [options] { return run(*options); };
}

}  // namespace unicorn
