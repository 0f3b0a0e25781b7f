#include "hub/model_store.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <system_error>

namespace unicorn {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kDemoName = "demo";
constexpr std::string_view kDemoFolder = "share/unicorn/models/gemma3n-demo";
constexpr std::array<std::string_view, 2> kExtensions = {".gguf", ".safetensors"};
constexpr std::string_view kFirstPart = "-00001-of-";  // of a split GGUF

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;  // XDG: empty counts as unset
  return value;
}

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

fs::path program_folder() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path();
}

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// The name under which a file or folder of the model folder is found; nullopt: it is no model.
std::optional<std::string> model_name(const fs::directory_entry& entry) {
  std::string name = entry.path().filename().string();
  if (name.empty() || name.front() == '.') return std::nullopt;
  std::error_code error;
  if (entry.is_directory(error)) return name;
  for (std::string_view extension : kExtensions) {
    if (!name.ends_with(extension) || name.size() == extension.size()) continue;
    name.resize(name.size() - extension.size());
    // "x-00002-of-00003": a part stands for the whole, so only the first part has a name.
    constexpr std::string_view kPart = "-00000-of-00000";
    if (name.size() > kPart.size()) {
      std::string shape = name.substr(name.size() - kPart.size());
      std::replace_if(shape.begin(), shape.end(), [](char c) { return c >= '0' && c <= '9'; }, '0');
      if (shape == kPart) {
        if (name.compare(name.size() - kPart.size(), kFirstPart.size(), kFirstPart) != 0) return std::nullopt;
        name.resize(name.size() - kPart.size());
      }
    }
    return name;
  }
  return std::nullopt;
}

std::vector<fs::directory_entry> entries(const fs::path& folder) {
  std::vector<fs::directory_entry> found;
  std::error_code error;
  for (auto it = fs::directory_iterator(folder, error); !error && it != fs::directory_iterator(); it.increment(error))
    found.push_back(*it);
  std::sort(found.begin(), found.end());
  return found;
}

// An entry of the model folder by name; a name may lead into a folder ("google/gemma-3n"), never out of it.
std::optional<fs::path> find_named(const fs::path& folder, std::string_view name) {
  const fs::path relative{name};
  if (relative.is_absolute()) return std::nullopt;
  for (const fs::path& part : relative)
    if (part == ".." || part == ".") return std::nullopt;
  if (is_there(folder / relative)) return folder / relative;
  for (std::string_view extension : kExtensions) {
    fs::path file = folder / relative;
    file += extension;
    if (is_there(file)) return file;
  }
  const fs::path inside = (folder / relative).parent_path();
  for (const fs::directory_entry& entry : entries(inside))
    if (model_name(entry) == relative.filename().string()) return entry.path();
  return std::nullopt;
}

}  // namespace

fs::path model_folder() {
  if (const auto folder = environment("UNICORN_MODELS")) return *folder;
  if (const auto data = environment("XDG_DATA_HOME")) return fs::path(*data) / "unicorn/models";
  return fs::path(environment("HOME").value_or(".")) / ".local/share/unicorn/models";
}

Result<fs::path> demo_model() {
  if (const auto folder = environment("UNICORN_DEMO_MODEL")) {
    if (is_there(*folder)) return fs::path(*folder);
    return Error{ErrorCode::not_found,
                 fmt::format("{}: no such file or folder ($UNICORN_DEMO_MODEL says the demo model is there)", *folder)};
  }
  const fs::path beside = program_folder();
  const fs::path above = beside.parent_path();
  for (const fs::path& folder : {beside, above})
    if (is_there(folder / kDemoFolder / "config.json")) return folder / kDemoFolder;
  return Error{ErrorCode::not_found,
               fmt::format("the demo model is neither in {} nor in {}; $UNICORN_DEMO_MODEL can name its folder",
                           (beside / kDemoFolder).string(), (above / kDemoFolder).string())};
}

Result<fs::path> find_model(std::string_view model) {
  if (model.empty() || model == kDemoName) return demo_model();
  if (is_there(fs::path(model))) return fs::path(model);

  const fs::path folder = model_folder();
  if (auto named = find_named(folder, model)) return *std::move(named);

  const std::vector<std::string> names = list_models();
  std::string there = names.empty() ? "no models" : join(names);
  if (!is_there(folder)) there = "nothing, as it does not exist";
  return Error{ErrorCode::not_found,
               fmt::format("no model '{}': there is no such file or folder, and the model folder {} has {}", model,
                           folder.string(), there)};
}

std::vector<std::string> list_models() {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : entries(model_folder()))
    if (auto name = model_name(entry)) names.push_back(*std::move(name));
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace unicorn
