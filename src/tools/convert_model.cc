#include "tools/convert_model.h"

#include <fmt/format.h>

#include <optional>
#include <system_error>
#include <variant>
#include <vector>

#include "core/mapped_file.h"
#include "engine/model_files.h"
#include "formats/gguf_writer.h"
#include "tools/gguf_metadata.h"
#include "tools/model_tensors.h"
#include "tools/row_stream.h"

namespace unicorn {
namespace {

namespace fs = std::filesystem;

struct FileTensor {
  TensorSpec spec;
  WeightRef rows;
  std::size_t n_rows = 0;  // rows beyond those there are repeat row 0
};

// Layers that read another's K and V may come without their own.
bool may_be_missing(const ModelConfig& c, const ModelTensor& t) {
  for (std::uint32_t l = c.first_shared(); l < c.n_layers(); ++l)
    for (const char* name : {"attn_k", "attn_v", "attn_k_norm"})
      if (t.name == fmt::format("blk.{}.{}", l, name)) return true;
  return false;
}

Result<WeightRef> find(const WeightSource& source, const ModelConfig& c, const ModelTensor& t) {
  if (t.vector) {
    const bool plus_one = c.family == Family::gemma3 && source.naming() == Naming::hugging_face;
    return source.vector(t.name, t.k, plus_one ? 1.0f : 0.0f);
  }
  if (t.count > 1) return source.stack(t.name, t.count, t.n, t.k);
  return source.matrix(t.name, t.name == "per_layer_token_embd" ? c.n_ple_vocab : t.n, t.k);
}

Result<std::vector<FileTensor>> file_tensors(const ModelConfig& c, const WeightSource& source,
                                             const std::optional<FileType>& type) {
  std::vector<FileTensor> list;
  for (const ModelTensor& t : model_tensors(c, true)) {
    if (may_be_missing(c, t) && !source.has(t.name)) continue;
    UNICORN_ASSIGN(WeightRef rows, find(source, c, t));
    if (type && !t.vector) rows.as = stored_dtype(*type, t, c.n_layers(), rows.parts[0].dtype);
    list.push_back({{t.name + ".weight", rows.as, t.gguf_shape()}, std::move(rows), t.n_rows()});
  }
  return list;
}

// The type most of the bytes have, for general.file_type of a model that keeps its types.
Result<FileType> own_type(const std::vector<FileTensor>& tensors) {
  std::vector<std::uint64_t> bytes(kNDTypes);
  for (const FileTensor& t : tensors) bytes[static_cast<std::size_t>(t.rows.as)] += t.rows.n_bytes();
  std::size_t most = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    if (bytes[i] > bytes[most]) most = i;
  return file_type_from_name(dtype_name(static_cast<DType>(most)));
}

std::optional<std::string> chat_template_beside(const fs::path& model) {
  std::error_code error;
  const fs::path folder = fs::is_directory(model, error) ? model : model.parent_path();
  const Result<MappedFile> file = MappedFile::open(folder / "chat_template.jinja");
  if (!file.ok()) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
}

Result<GgufMetadata> metadata_of(const ModelFiles& files, const FileType& type) {
  GgufMetadata metadata;
  if (const GgufFile* gguf = std::get_if<GgufFile>(&files.tensors)) {
    metadata.copy_from(*gguf);
    metadata.set_u32("general.file_type", type.gguf_id);
    return metadata;
  }
  const fs::path folder = files.path.has_filename() ? files.path : files.path.parent_path();
  set_model_metadata(metadata, files.config, folder.stem().string(), type);
  UNICORN_ASSIGN(std::optional<Vocab> vocab, load_vocab(files));
  if (vocab) {
    if (!vocab->chat_template) vocab->chat_template = chat_template_beside(files.path);
    set_tokenizer_metadata(metadata, *vocab, files.config.n_vocab);
  } else {
    set_no_tokenizer(metadata, files.config);
  }
  return metadata;
}

}  // namespace

Result<ConvertedModel> convert_model(const ConvertModelOptions& o) {
  std::optional<FileType> type;
  if (!o.type.empty()) {
    UNICORN_ASSIGN(type, file_type_from_name(o.type));
  }
  UNICORN_ASSIGN(const ModelFiles files, ModelFiles::open(o.model));
  const WeightSource source(files.table(), files.naming(), std::nullopt);
  UNICORN_ASSIGN(const std::vector<FileTensor> tensors, file_tensors(files.config, source, type));
  UNICORN_ASSIGN(const FileType stored, type ? Result<FileType>(*type) : own_type(tensors));
  UNICORN_ASSIGN(const GgufMetadata metadata, metadata_of(files, stored));

  ConvertedModel result;
  std::vector<TensorSpec> specs;
  for (const FileTensor& t : tensors) {
    specs.push_back(t.spec);
    result.n_bytes += std::uint64_t{t.n_rows} * t.rows.row_bytes_as();
    ++result.n_tensors;
  }
  UNICORN_ASSIGN(GgufWriter writer, GgufWriter::create(o.out, metadata, std::move(specs)));
  RowStream stream(o.n_threads, result.n_bytes, o.progress);
  for (const FileTensor& t : tensors)
    UNICORN_TRY(stream.rows(
        0, t.n_rows, t.rows.row_bytes_as(),
        [&](std::size_t row, std::byte* out) { t.rows.read_row(row < t.rows.n ? row : 0, out); },
        [&](std::span<const std::byte> bytes) { return writer.append(t.spec.name, bytes); }));
  UNICORN_TRY(writer.finish());
  return result;
}

}  // namespace unicorn
