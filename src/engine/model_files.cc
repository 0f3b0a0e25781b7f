#include "engine/model_files.h"

#include <fmt/format.h>

#include <cmath>

namespace unicorn {
namespace {

namespace fs = std::filesystem;

Result<std::string> read_text(const fs::path& path) {
  UNICORN_ASSIGN(const MappedFile file, MappedFile::open(path));
  const std::span<const std::byte> bytes = file.bytes();
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// The one .gguf file of a folder (of a split set, the first part).
Result<fs::path> gguf_in(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.ends_with(".gguf")) continue;
    const bool later_part = name.find("-of-") != std::string::npos && name.find("-00001-of-") == std::string::npos;
    if (!later_part) found.push_back(entry->path());
  }
  if (found.size() == 1) return found.front();
  if (found.empty())
    return Error{ErrorCode::not_found,
                 fmt::format("{}: no model here (expected config.json with .safetensors files, or one .gguf file)",
                             folder.string())};
  return Error{ErrorCode::invalid_argument,
               fmt::format("{}: holds {} .gguf files; name one of them", folder.string(), found.size())};
}

Vocab vocab_from_gguf(const GgufFile& file, const std::vector<std::string>& tokens) {
  Vocab v;
  v.pieces = tokens;
  if (const auto scores = file.get_numbers("tokenizer.ggml.scores")) v.scores.assign(scores->begin(), scores->end());
  v.types.assign(tokens.size(), TokenType::normal);
  if (const auto types = file.get_numbers("tokenizer.ggml.token_type"))
    for (std::size_t i = 0; i < std::min(types->size(), v.types.size()); ++i) switch (static_cast<int>((*types)[i])) {
        case 2:
          v.types[i] = TokenType::unknown;
          break;
        case 3:
          v.types[i] = TokenType::control;
          break;
        case 4:
          v.types[i] = TokenType::user_defined;
          break;
        case 5:
          v.types[i] = TokenType::unused;
          break;
        case 6:
          v.types[i] = TokenType::byte;
          break;
        default:
          break;
      }
  const auto id = [&](std::string_view key) {
    const auto value = file.get_uint(key);
    return value && *value < tokens.size() ? static_cast<TokenId>(*value) : TokenId{-1};
  };
  v.bos = id("tokenizer.ggml.bos_token_id");
  v.eos = id("tokenizer.ggml.eos_token_id");
  v.unk = id("tokenizer.ggml.unknown_token_id");
  v.pad = id("tokenizer.ggml.padding_token_id");
  v.add_bos = file.get_bool("tokenizer.ggml.add_bos_token").value_or(true);
  if (const auto chat = file.get_string("tokenizer.chat_template")) v.chat_template = std::string(*chat);
  return v;
}

Result<Vocab> vocab_from_file(const fs::path& path) {
  UNICORN_ASSIGN(const MappedFile file, MappedFile::open(path));
  const std::span<const std::byte> bytes = file.bytes();
  return vocab_from_tokenizer_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string());
}

Result<std::optional<Vocab>> vocab_of_gguf(const GgufFile& file, const fs::path& path) {
  const std::vector<std::string>* tokens = file.get_strings("tokenizer.ggml.tokens");
  if (tokens == nullptr) return std::optional<Vocab>{};
  const std::string kind(file.get_string("tokenizer.ggml.model").value_or("llama"));
  if (kind != "llama")
    return Error{ErrorCode::unsupported,
                 fmt::format("{}: tokenizer.ggml.model '{}' is not supported", path.string(), kind)};
  return std::optional<Vocab>(vocab_from_gguf(file, *tokens));
}

}  // namespace

const TensorTable& ModelFiles::table() const {
  return std::visit([](const auto& f) -> const TensorTable& { return f.tensors(); }, tensors);
}

Result<ModelFiles> ModelFiles::open(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error))
    return Error{ErrorCode::not_found, fmt::format("{}: no such file or folder", path.string())};
  fs::path at = path;
  if (fs::is_directory(path, error) && !fs::exists(path / "config.json", error)) {
    UNICORN_ASSIGN(at, gguf_in(path));
  }
  ModelFiles files;
  files.path = at;
  const std::string name = at.filename().string();
  if (name.ends_with(".gguf")) {
    UNICORN_ASSIGN(GgufFile gguf, GgufFile::open(at));
    UNICORN_ASSIGN(files.config, config_from_gguf(gguf, at.string()));
    files.tensors = std::move(gguf);
    return files;
  }
  const bool folder = fs::is_directory(at, error);
  if (!folder && !name.ends_with(".safetensors") && !name.ends_with(".json"))
    return Error{ErrorCode::unsupported,
                 fmt::format("{}: not a model (expected .gguf, .safetensors or a folder)", at.string())};
  const fs::path config_path = (folder ? at : at.parent_path()) / "config.json";
  UNICORN_ASSIGN(const std::string text, read_text(config_path));
  UNICORN_ASSIGN(const Json json, parse_json(text, config_path.string()));
  UNICORN_ASSIGN(files.config, config_from_hf(json, config_path.string()));
  UNICORN_ASSIGN(files.tensors, SafetensorsFile::open(at));
  return files;
}

Result<std::optional<Vocab>> load_vocab(const ModelFiles& files) {
  if (const GgufFile* gguf = std::get_if<GgufFile>(&files.tensors)) return vocab_of_gguf(*gguf, files.path);
  std::error_code error;
  const fs::path folder = fs::is_directory(files.path, error) ? files.path : files.path.parent_path();
  const fs::path path = folder / "tokenizer.json";
  if (!fs::exists(path, error)) return std::optional<Vocab>{};
  UNICORN_ASSIGN(Vocab vocab, vocab_from_file(path));
  return std::optional<Vocab>(std::move(vocab));
}

Result<Tokenizer> load_tokenizer(const fs::path& path) {
  std::error_code error;
  fs::path at = path;
  if (fs::is_directory(at, error)) {
    if (fs::exists(at / "tokenizer.json", error)) {
      at = at / "tokenizer.json";
    } else {
      UNICORN_ASSIGN(at, gguf_in(at));
    }
  }
  const std::string name = at.filename().string();
  if (name.ends_with(".gguf")) {
    UNICORN_ASSIGN(const GgufFile gguf, GgufFile::open(at));
    UNICORN_ASSIGN(std::optional<Vocab> vocab, vocab_of_gguf(gguf, at));
    if (!vocab) return Error{ErrorCode::not_found, fmt::format("{}: holds no vocabulary", at.string())};
    return Tokenizer::create(std::move(*vocab));
  }
  if (name.ends_with(".safetensors") || name.ends_with(".index.json")) at = at.parent_path() / "tokenizer.json";
  UNICORN_ASSIGN(Vocab vocab, vocab_from_file(at));
  return Tokenizer::create(std::move(vocab));
}

}  // namespace unicorn
