#include "tools/inspect.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <system_error>
#include <type_traits>

#include "formats/gguf.h"
#include "formats/safetensors.h"

namespace unicorn {

namespace fs = std::filesystem;

namespace {

template <class T>
Json array_to_json(const std::vector<T>& values) {
  Json shown = Json::array();
  for (std::size_t i = 0; i < std::min(values.size(), Inspection::kArrayShown); ++i)
    shown.push_back(static_cast<T>(values[i]));
  if (values.size() <= Inspection::kArrayShown) return shown;
  return Json{{"n", values.size()}, {"first", std::move(shown)}};
}

template <class T>
inline constexpr bool kIsVector = false;
template <class T>
inline constexpr bool kIsVector<std::vector<T>> = true;

Json value_to_json(const GgufValue& value) {
  return std::visit(
      [](const auto& v) -> Json {
        if constexpr (kIsVector<std::decay_t<decltype(v)>>)
          return array_to_json(v);
        else
          return v;
      },
      value);
}

void add_tensors(Inspection& result, const TensorTable& table) {
  std::map<const MappedFile*, std::size_t> order;
  for (const auto& file : table.files()) {
    order[file.get()] = result.files.size();
    result.files.push_back({file->path(), file->bytes().size()});
  }
  for (const TensorEntry& entry : table.entries()) {
    Inspection::Tensor tensor;
    tensor.name = entry.name;
    tensor.dtype = dtype_name(entry.view.dtype);
    tensor.bytes = entry.view.n_bytes();
    for (std::size_t i = 0; i < entry.view.shape.rank(); ++i) tensor.shape.push_back(entry.view.shape[i]);
    for (const auto& file : table.files()) {
      const std::span<const std::byte> bytes = file->bytes();
      if (std::less<>()(entry.view.data, bytes.data()) || std::less<>()(bytes.data() + bytes.size(), entry.view.data))
        continue;
      tensor.offset = static_cast<std::uint64_t>(entry.view.data - bytes.data());
      tensor.file = order[file.get()];
      break;
    }
    result.tensors.push_back(std::move(tensor));
  }
}

void add_totals(Inspection& result) {
  std::map<std::string, Inspection::Total> totals;
  for (const Inspection::Tensor& tensor : result.tensors) {
    Inspection::Total& total = totals[tensor.dtype];
    total.dtype = tensor.dtype;
    ++total.n_tensors;
    total.bytes += tensor.bytes;
    std::uint64_t n = tensor.usable ? 1 : 0;
    for (const std::size_t dim : tensor.shape) n *= dim;
    total.n_elements += n;
  }
  for (auto& [name, total] : totals) result.totals.push_back(std::move(total));
  std::stable_sort(result.totals.begin(), result.totals.end(),
                   [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
}

void set_config(Inspection& result, Result<ModelConfig> config) {
  if (config.ok())
    result.config = std::move(config).value();
  else
    result.config_error = config.error().message;
}

Result<Inspection> inspect_gguf(const fs::path& path) {
  UNICORN_ASSIGN(const GgufFile file, GgufFile::open(path));
  Inspection result;
  result.path = path.string();
  result.format = fmt::format("GGUF v{}", file.version());
  for (const auto& [key, value] : file.metadata()) result.metadata[key] = value_to_json(value);
  add_tensors(result, file.tensors());
  set_config(result, config_from_gguf(file, path.string()));
  return result;
}

Result<ModelConfig> config_beside(const fs::path& path) {
  std::error_code error;
  const fs::path file = (fs::is_directory(path, error) ? path : path.parent_path()) / "config.json";
  UNICORN_ASSIGN(const MappedFile mapped, MappedFile::open(file));
  const std::span<const std::byte> bytes = mapped.bytes();
  UNICORN_ASSIGN(const Json json,
                 parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, file.string()));
  return config_from_hf(json, file.string());
}

Result<Inspection> inspect_safetensors(const fs::path& path) {
  UNICORN_ASSIGN(const SafetensorsFile file, SafetensorsFile::open(path));
  Inspection result;
  result.path = path.string();
  result.format = "safetensors";
  for (const auto& [key, value] : file.metadata()) result.metadata[key] = value;
  add_tensors(result, file.tensors());
  for (const auto& [name, dtype] : file.skipped()) {
    Inspection::Tensor& tensor = result.tensors.emplace_back();
    tensor.name = name;
    tensor.dtype = dtype;
    tensor.usable = false;
  }
  set_config(result, config_beside(path));
  return result;
}

Result<bool> is_gguf(const fs::path& path) {
  UNICORN_ASSIGN(const MappedFile file, MappedFile::open(path));
  const std::span<const std::byte> bytes = file.bytes();
  return bytes.size() >= 4 && std::string_view(reinterpret_cast<const char*>(bytes.data()), 4) == "GGUF";
}

// A folder with .gguf files and no safetensors: its only model, that is, its only first part.
Result<fs::path> gguf_in(const fs::path& folder) {
  std::vector<fs::path> first_parts;
  std::error_code error;
  for (auto it = fs::directory_iterator(folder, error); !error && it != fs::directory_iterator(); it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json")) return folder;
    const bool later_part = name.find("-of-") != std::string::npos && name.find("-00001-of-") == std::string::npos;
    if (name.ends_with(".gguf") && !later_part) first_parts.push_back(it->path());
  }
  if (first_parts.empty()) return folder;
  if (first_parts.size() > 1)
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{}: holds {} .gguf files; name one of them", folder.string(), first_parts.size())};
  return first_parts.front();
}

}  // namespace

Result<Inspection> inspect(const fs::path& path) {
  std::error_code error;
  fs::path at = path;
  if (fs::is_directory(at, error)) {
    UNICORN_ASSIGN(at, gguf_in(path));
  }
  bool gguf = false;
  if (!fs::is_directory(at, error)) {
    UNICORN_ASSIGN(gguf, is_gguf(at));
  }
  UNICORN_ASSIGN(Inspection result, gguf || at.extension() == ".gguf" ? inspect_gguf(at) : inspect_safetensors(at));
  add_totals(result);
  return result;
}

Json config_to_json(const ModelConfig& config) {
  Json json{{"family", family_name(config.family)},
            {"n_layers", config.n_layers()},
            {"d_model", config.d_model},
            {"n_heads", config.n_heads},
            {"n_kv_heads", config.n_kv_heads},
            {"head_dim", config.head_dim},
            {"n_vocab", config.n_vocab},
            {"n_ctx", config.n_ctx},
            {"window", config.window}};
  Json d_ff = Json::array(), sliding = Json::array(), sparse = Json::array();
  for (const LayerConfig& layer : config.layers) {
    d_ff.push_back(layer.d_ff);
    sliding.push_back(layer.sliding);
    sparse.push_back(layer.sparsity_z.has_value());
  }
  json["d_ff"] = std::move(d_ff);
  json["sliding"] = std::move(sliding);
  json["sparse_ffn"] = std::move(sparse);
  json["tied_head"] = config.tied_head;
  json["final_softcap"] = config.final_softcap;
  if (config.family == Family::gemma3n) {
    json["n_kv_shared"] = config.n_kv_shared;
    json["ple_width"] = config.ple_width;
    json["n_ple_vocab"] = config.n_ple_vocab;
    json["laurel_rank"] = config.laurel_rank;
    json["n_streams"] = config.n_streams;
  }
  if (config.small) json["small_slice"] = Json{{"d_ff", config.small->d_ff}, {"skip", config.small->skip}};
  return json;
}

}  // namespace unicorn
