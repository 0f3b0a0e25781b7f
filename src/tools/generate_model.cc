#include "tools/generate_model.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <optional>
#include <system_error>
#include <vector>

#include "core/mapped_file.h"
#include "formats/gguf_writer.h"
#include "formats/safetensors_writer.h"
#include "model/weight_source.h"
#include "text/tokenizer.h"
#include "tools/gguf_metadata.h"
#include "tools/hf_config.h"
#include "tools/model_tensors.h"
#include "tools/random_weights.h"
#include "tools/row_stream.h"

namespace unicorn {
namespace {

namespace fs = std::filesystem;

// ---- shapes: the sizes of the published models (config.json of google/gemma-3n-*, google/gemma-3-*) ----

constexpr float kSparsityZ = 1.6448533535003662f;  // Φ⁻¹(0.95)

void set_layers(ModelConfig& c, std::uint32_t n_layers, std::uint32_t d_ff, std::uint32_t period,
                std::uint32_t n_sparse) {
  c.n_layers_in_file = n_layers;
  for (std::uint32_t l = 0; l < n_layers; ++l) {
    LayerConfig layer{l, d_ff, d_ff, (l + 1) % period != 0, std::nullopt};
    if (l < n_sparse) layer.sparsity_z = kSparsityZ;
    c.layers.push_back(layer);
  }
}

ModelConfig gemma3n_shape(std::uint32_t n_layers, std::uint32_t d_model, std::uint32_t d_ff, std::uint32_t head_dim) {
  ModelConfig c;
  c.family = Family::gemma3n;
  set_layers(c, n_layers, d_ff, 5, 10);
  c.d_model = d_model;
  c.n_heads = 8;
  c.n_kv_heads = 2;
  c.head_dim = head_dim;
  c.n_vocab = 262400;
  c.n_ple_vocab = 262144;
  c.n_ctx = 32768;
  c.window = 512;
  c.rope_full.theta = 1e6f;
  c.rope_sliding.theta = 1e4f;
  c.final_softcap = 30.0f;
  c.n_kv_shared = n_layers - 20;
  c.ple_width = 256;
  c.laurel_rank = 64;
  c.n_streams = 4;
  return c;
}

ModelConfig gemma3_shape(std::uint32_t n_layers, std::uint32_t d_model, std::uint32_t d_ff, std::uint32_t n_heads,
                         std::uint32_t n_kv_heads) {
  ModelConfig c;
  c.family = Family::gemma3;
  set_layers(c, n_layers, d_ff, 6, 0);
  c.d_model = d_model;
  c.n_heads = n_heads;
  c.n_kv_heads = n_kv_heads;
  c.head_dim = 256;
  c.n_vocab = 262144;
  c.n_ctx = 32768;
  c.window = 512;
  c.rope_full.theta = 1e6f;
  c.rope_sliding.theta = 1e4f;
  c.attention_scale = 1.0f / 16.0f;
  return c;
}

// ---- values ----

// Most matrices keep the size of what they multiply: 1/√k. The rest is chosen so that nothing saturates: attention
// scores of about ±2, routers of about ±0.5, logits of about ±3 where the largest of 262,400 lies near 15. Norm weights
// vary a little, as trained ones do.
Distribution distribution_of(const ModelConfig& c, const ModelTensor& t, bool stored_plus_one) {
  const std::string_view name =
      std::string_view(t.name).substr(t.name.starts_with("blk.") ? t.name.find('.', 4) + 1 : 0);
  const auto sqrt = [](std::uint32_t n) { return std::sqrt(static_cast<float>(n)); };
  if (t.vector) {
    float mean = 1.0f;
    if (name == "output_norm") mean = 3.0f;
    if (name == "altup_router_norm") mean = 4.0f;
    if (name == "post_norm") mean = 0.5f;
    if (name == "attn_q_norm" || name == "attn_k_norm") mean = std::sqrt(2.0f / (c.attention_scale * sqrt(c.head_dim)));
    if (c.family == Family::gemma3n) return {mean, 0.1f * mean, 0.0f};
    return {mean - 1.0f, 0.1f * mean, stored_plus_one ? 1.0f : 0.0f};
  }
  if (name == "per_layer_token_embd") return {0.0f, 1.0f / sqrt(c.ple_width), 0.0f};
  if (name == "altup_router") return {0.0f, 0.125f * sqrt(c.d_model), 0.0f};
  if (name == "altup_predict_coef") return {0.0f, 0.05f, 0.0f};
  if (name == "altup_correct_coef") return {0.0f, 0.1f, 0.0f};
  return {0.0f, 1.0f / sqrt(static_cast<std::uint32_t>(t.k)), 0.0f};
}

// Rows of the embedding and the PLE table that are no text tokens. Published embeddings repeat row 0 (<pad>) there.
std::size_t n_random_rows(const ModelConfig& c, const ModelTensor& t) {
  const bool is_table = t.name == "token_embd" || t.name == "per_layer_token_embd";
  return is_table && c.family == Family::gemma3n ? std::min<std::size_t>(t.n, c.n_ple_vocab) : t.n_rows();
}

// ---- files ----

// A tensor of the file and where its rows come from.
struct FileTensor {
  TensorSpec spec;
  ModelTensor from;
  std::size_t first_row = 0, n_rows = 0;
  Distribution distribution;
  std::size_t n_random = 0;  // rows from here on repeat row 0
};

std::uint64_t total_bytes(const std::vector<FileTensor>& tensors) {
  std::uint64_t n = 0;
  for (const FileTensor& t : tensors) n += std::uint64_t{t.n_rows} * row_bytes(t.spec.dtype, t.from.k);
  return n;
}

std::vector<TensorSpec> specs_of(const std::vector<FileTensor>& tensors) {
  std::vector<TensorSpec> specs;
  for (const FileTensor& t : tensors) specs.push_back(t.spec);
  return specs;
}

std::vector<FileTensor> gguf_tensors(const ModelConfig& c, const FileType& type) {
  std::vector<FileTensor> list;
  for (const ModelTensor& t : model_tensors(c, true)) {
    TensorSpec spec{t.name + ".weight", stored_dtype(type, t, c.n_layers(), DType::bf16), t.gguf_shape()};
    list.push_back({std::move(spec), t, 0, t.n_rows(), distribution_of(c, t, true), n_random_rows(c, t)});
  }
  return list;
}

// The names Hugging Face would give: WeightSource knows them, once it has seen the prefix.
std::vector<FileTensor> hugging_face_tensors(const ModelConfig& c, DType dtype, bool multimodal) {
  TensorTable table;
  const std::string prefix = multimodal ? "model.language_model." : "model.";
  const Status added = table.add({prefix + "embed_tokens.weight", {}, {}});
  UNICORN_CHECK(added.ok());
  const WeightSource names(table, Naming::hugging_face, std::nullopt);
  std::vector<FileTensor> list;
  for (const ModelTensor& t : model_tensors(c, false))
    for (std::size_t i = 0; i < t.count; ++i) {
      std::string name = names.file_name(t.name);
      if (t.count > 1) name = fmt::format(fmt::runtime(name), i);
      TensorSpec spec{std::move(name), dtype, t.hugging_face_shape()};
      list.push_back({std::move(spec), t, i * t.n, t.n, distribution_of(c, t, false), n_random_rows(c, t)});
    }
  return list;
}

// What a text engine must skip: names as in the published checkpoints, sizes small.
std::vector<FileTensor> tower_tensors(const ModelConfig& c, DType dtype) {
  std::vector<FileTensor> list;
  const auto add = [&](std::string name, Shape shape) {
    const std::size_t n = shape.n_rows();
    const ModelTensor from{name, 1, n, shape.k(), false};
    list.push_back({{std::move(name), dtype, shape}, from, 0, n, {0.0f, 0.02f, 0.0f}, n});
  };
  const std::size_t d = c.d_model;
  if (c.family == Family::gemma3n) {
    add("model.vision_tower.timm_model.conv_stem.conv.weight", {64, 3, 3, 3});
    for (int i = 0; i < 3; ++i)
      add(fmt::format("model.vision_tower.timm_model.blocks.{}.0.conv_exp.weight", i), {d, 64, 3, 3});
    for (int i = 0; i < 2; ++i) {
      add(fmt::format("model.audio_tower.conformer.{}.ffw_layer_start.ffw_layer_1.weight", i), {4 * d, d});
      add(fmt::format("model.audio_tower.conformer.{}.ffw_layer_start.ffw_layer_2.weight", i), {d, 4 * d});
    }
    for (const char* kind : {"vision", "audio"}) {
      add(fmt::format("model.embed_{}.embedding.weight", kind), {128, d});
      add(fmt::format("model.embed_{}.soft_embedding_norm.weight", kind), {d});
      add(fmt::format("model.embed_{}.embedding_projection.weight", kind), {d, d});
    }
  } else {
    add("model.vision_tower.vision_model.embeddings.patch_embedding.weight", {d, 3, 14, 14});
    for (int i = 0; i < 2; ++i) {
      add(fmt::format("model.vision_tower.vision_model.encoder.layers.{}.mlp.fc1.weight", i), {4 * d, d});
      add(fmt::format("model.vision_tower.vision_model.encoder.layers.{}.mlp.fc2.weight", i), {d, 4 * d});
    }
    add("model.multi_modal_projector.mm_input_projection_weight", {d, d});
    add("model.multi_modal_projector.mm_soft_emb_norm.weight", {d});
  }
  return list;
}

Status write_tensors(const std::vector<FileTensor>& tensors, const GenerateModelOptions& o,
                     const std::function<Status(std::string_view, std::span<const std::byte>)>& append) {
  RowStream stream(o.n_threads, total_bytes(tensors), o.progress);
  for (const FileTensor& t : tensors) {
    const RandomTensor random(o.seed, t.from.name, t.n_random, t.from.k, t.distribution, t.spec.dtype);
    UNICORN_TRY(stream.rows(
        t.first_row, t.n_rows, random.bytes_per_row(),
        [&](std::size_t row, std::byte* out) { random.read_row(row < t.n_random ? row : 0, out); },
        [&](std::span<const std::byte> bytes) { return append(t.spec.name, bytes); }));
  }
  return Ok{};
}

Status check_room(const fs::path& out, std::uint64_t n_bytes) {
  std::error_code error;
  const fs::path folder = out.has_parent_path() ? out.parent_path() : fs::path(".");
  const fs::space_info space = fs::space(folder, error);
  if (error) return Error{ErrorCode::io, fmt::format("{}: {}", folder.string(), error.message())};
  if (space.available < n_bytes)
    return Error{ErrorCode::io,
                 fmt::format("{}: the model takes {:.2f} GB, {:.2f} GB are free there", folder.string(),
                             static_cast<double>(n_bytes) / 1e9, static_cast<double>(space.available) / 1e9)};
  return Ok{};
}

Result<std::string> read_tokenizer(const fs::path& path) {
  UNICORN_ASSIGN(const MappedFile file, MappedFile::open(path));
  const auto bytes = file.bytes();
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

std::string model_name(const GenerateModelOptions& o) {
  return fmt::format("{}, random weights, seed {}", o.shape, o.seed);
}

Status write_gguf(const ModelConfig& c, const GenerateModelOptions& o, const std::vector<FileTensor>& tensors,
                  const FileType& type) {
  GgufMetadata metadata;
  set_model_metadata(metadata, c, model_name(o), type);
  if (o.tokenizer.empty()) {
    set_no_tokenizer(metadata, c);
  } else {
    UNICORN_ASSIGN(const std::string text, read_tokenizer(o.tokenizer));
    UNICORN_ASSIGN(const Vocab vocab, vocab_from_tokenizer_json(text, o.tokenizer.string()));
    set_tokenizer_metadata(metadata, vocab, c.n_vocab);
  }
  UNICORN_ASSIGN(GgufWriter writer, GgufWriter::create(o.out, metadata, specs_of(tensors)));
  UNICORN_TRY(write_tensors(
      tensors, o, [&](std::string_view name, std::span<const std::byte> bytes) { return writer.append(name, bytes); }));
  return writer.finish();
}

// A folder that takes its name when whole.
class OutputFolder {
 public:
  explicit OutputFolder(fs::path path)
      : path_(std::move(path)), temporary_(path_.string() + fmt::format(".tmp{}", ::getpid())) {}
  ~OutputFolder() {
    std::error_code ignored;
    if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  }
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  Status create() {
    std::error_code error;
    if (fs::exists(path_, error))
      return Error{ErrorCode::io, fmt::format("{}: exists already; a folder is not overwritten", path_.string())};
    fs::create_directories(temporary_, error);
    return error ? failed(temporary_, error) : Status(Ok{});
  }
  Status commit() {
    std::error_code error;
    fs::rename(temporary_, path_, error);
    if (error) return failed(path_, error);
    temporary_.clear();
    return Ok{};
  }
  const fs::path& path() const { return temporary_; }

 private:
  static Error failed(const fs::path& path, const std::error_code& error) {
    return {ErrorCode::io, fmt::format("{}: {}", path.string(), error.message())};
  }
  fs::path path_, temporary_;
};

Status write_text(const fs::path& path, std::string_view text) {
  return write_file_atomically(path, std::as_bytes(std::span(text)));
}

Status write_safetensors(const ModelConfig& c, const GenerateModelOptions& o, const std::vector<FileTensor>& tensors,
                         bool multimodal) {
  OutputFolder folder(o.out);
  UNICORN_TRY(folder.create());
  Json config = hugging_face_config(c, multimodal);
  config["unicorn_generated"] = model_name(o);
  UNICORN_TRY(write_text(folder.path() / "config.json", dump_json(config, 2) + "\n"));
  UNICORN_TRY(write_text(
      folder.path() / "generation_config.json",
      "{\"bos_token_id\": 2, \"eos_token_id\": [1, 106], \"do_sample\": true, \"top_k\": 64, \"top_p\": 0.95}\n"));
  if (!o.tokenizer.empty()) {
    UNICORN_ASSIGN(const std::string text, read_tokenizer(o.tokenizer));
    UNICORN_TRY(write_text(folder.path() / "tokenizer.json", text));
  }
  const SafetensorsWriter::Metadata metadata = {{"format", "pt"}};
  const std::uint64_t shard = (total_bytes(tensors) + o.n_shards - 1) / o.n_shards;
  UNICORN_ASSIGN(SafetensorsWriter writer,
                 o.n_shards == 1
                     ? SafetensorsWriter::create(folder.path() / "model.safetensors", specs_of(tensors), metadata)
                     : SafetensorsWriter::create_sharded(folder.path(), specs_of(tensors), shard, metadata));
  UNICORN_TRY(write_tensors(
      tensors, o, [&](std::string_view name, std::span<const std::byte> bytes) { return writer.append(name, bytes); }));
  UNICORN_TRY(writer.finish());
  return folder.commit();
}

}  // namespace

Result<ModelConfig> shape_config(std::string_view shape) {
  std::optional<ModelConfig> c;
  if (shape == "e2b") c = gemma3n_shape(30, 2048, 8192, 256);
  if (shape == "e4b") c = gemma3n_shape(35, 2048, 16384, 256);
  if (shape == "gemma3-270m") c = gemma3_shape(18, 640, 2048, 4, 1);
  if (shape == "gemma3-1b") c = gemma3_shape(26, 1152, 6912, 4, 1);
  if (shape == "gemma3-4b") {
    c = gemma3_shape(34, 2560, 10240, 8, 4);
    c->n_vocab = 262208;
    c->n_ctx = 131072;
    c->window = 1024;
    c->rope_full.freq_scale = 1.0f / 8.0f;
  }
  if (shape == "tiny") {  // what llama.cpp takes for granted, 20 K/V layers, PLE 256 wide, Laurel rank 64, is kept
    c = gemma3n_shape(25, 256, 512, 32);
    c->n_vocab = 320;
    c->n_ple_vocab = 288;
    c->n_ctx = 1024;
    c->window = 32;
  }
  if (!c)
    return Error{ErrorCode::invalid_argument,
                 fmt::format("shape '{}' is not one of e2b, e4b, gemma3-270m, gemma3-1b, gemma3-4b, tiny", shape)};
  // Exactly what a reader of its config.json sees, so that both formats hold one model to the last bit.
  return config_from_hf(hugging_face_config(*c, false), shape);
}

Result<GeneratedModel> generate_model(const GenerateModelOptions& o) {
  UNICORN_ASSIGN(const ModelConfig config, shape_config(o.shape));
  UNICORN_ASSIGN(const FileType type, file_type_from_name(o.type));
  std::vector<FileTensor> tensors;
  const bool multimodal = config.family == Family::gemma3n || o.shape == "gemma3-4b";
  if (o.format == ModelFormat::gguf) {
    if (o.towers || o.n_shards != 1)
      return Error{ErrorCode::invalid_argument,
                   "towers and shards are for safetensors; a GGUF holds the text model in one file"};
    tensors = gguf_tensors(config, type);
  } else {
    if (is_quantised(type.base) || o.n_shards == 0)
      return Error{
          ErrorCode::invalid_argument,
          fmt::format("safetensors hold f32, f16 or bf16 in at least one shard, not {} in {}", o.type, o.n_shards)};
    if (o.towers && !multimodal)
      return Error{ErrorCode::invalid_argument, fmt::format("{} is a text model: it has no towers", o.shape)};
    if (o.towers) tensors = tower_tensors(config, type.base);
    for (FileTensor& t : hugging_face_tensors(config, type.base, multimodal)) tensors.push_back(std::move(t));
  }

  GeneratedModel result;
  result.n_bytes = total_bytes(tensors);
  result.n_tensors = tensors.size();
  for (const ModelTensor& t : model_tensors(config, false)) result.n_parameters += std::uint64_t{t.n_rows()} * t.k;
  constexpr std::uint64_t kHeader = std::uint64_t{64} << 20;  // metadata and tokenizer: at most
  UNICORN_TRY(check_room(o.out, result.n_bytes + kHeader));
  UNICORN_TRY(o.format == ModelFormat::gguf ? write_gguf(config, o, tensors, type)
                                            : write_safetensors(config, o, tensors, multimodal));
  return result;
}

}  // namespace unicorn
