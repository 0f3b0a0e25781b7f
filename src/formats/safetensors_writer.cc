#include "formats/safetensors_writer.h"

#include <algorithm>
#include <utility>

#include "core/json.h"
#include "core/mapped_file.h"
#include "formats/text.h"

namespace unicorn {
namespace {

// nullptr for dtypes the format has no name for.
const char* dtype_text(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    default:
      return nullptr;
  }
}

}  // namespace

// The tensors, checked and measured.
Result<SafetensorsWriter> SafetensorsWriter::plan(std::vector<TensorSpec> tensors, const std::string& file) {
  UNICORN_TRY(check_unique_names(tensors, file));
  SafetensorsWriter writer;
  std::uint64_t total = 0;
  for (const TensorSpec& spec : tensors) {
    if (dtype_text(spec.dtype) == nullptr)
      return file_error(ErrorCode::invalid_argument, file, "tensor {} is {}, safetensors hold f32, f16 and bf16",
                        printable(spec.name), dtype_name(spec.dtype));
    if (spec.name == "__metadata__")
      return file_error(ErrorCode::invalid_argument, file, "a tensor cannot be named '__metadata__'");
    UNICORN_ASSIGN(const std::uint64_t size, tensor_bytes(spec, file));
    writer.sizes_.push_back(size);
    const auto sum = checked_add(total, size);
    if (!sum) return file_error(ErrorCode::invalid_argument, file, "its tensors are too large");
    total = *sum;
  }
  writer.tensors_ = std::move(tensors);
  return writer;
}

Result<SafetensorsWriter> SafetensorsWriter::create(const std::filesystem::path& path, std::vector<TensorSpec> tensors,
                                                    const Metadata& metadata) {
  UNICORN_ASSIGN(SafetensorsWriter writer, plan(std::move(tensors), path.string()));
  writer.metadata_ = metadata;
  writer.shards_.push_back({path, 0, writer.tensors_.size()});
  UNICORN_TRY(writer.begin_shard());
  return writer;
}

Result<SafetensorsWriter> SafetensorsWriter::create_sharded(const std::filesystem::path& folder,
                                                            std::vector<TensorSpec> tensors,
                                                            std::uint64_t max_shard_bytes, const Metadata& metadata) {
  UNICORN_ASSIGN(SafetensorsWriter writer, plan(std::move(tensors), folder.string()));
  writer.metadata_ = metadata;
  writer.index_ = folder / "model.safetensors.index.json";
  std::uint64_t bytes = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < writer.tensors_.size(); ++i) {
    if (i > begin && writer.sizes_[i] > max_shard_bytes - std::min(bytes, max_shard_bytes)) {
      writer.shards_.push_back({{}, begin, i});
      begin = i;
      bytes = 0;
    }
    bytes += writer.sizes_[i];
  }
  writer.shards_.push_back({{}, begin, writer.tensors_.size()});
  for (std::size_t s = 0; s < writer.shards_.size(); ++s)
    writer.shards_[s].path = folder / fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, writer.shards_.size());
  UNICORN_TRY(writer.begin_shard());
  return writer;
}

Status SafetensorsWriter::begin_shard() {
  const Shard& shard = shards_[shard_];
  Json header = Json::object();
  if (!metadata_.empty()) header["__metadata__"] = metadata_;
  std::uint64_t offset = 0;
  for (std::size_t i = shard.begin; i < shard.end; ++i) {
    Json shape = Json::array();
    for (std::size_t d = 0; d < tensors_[i].shape.rank(); ++d) shape.push_back(tensors_[i].shape[d]);
    header[tensors_[i].name] = {{"dtype", dtype_text(tensors_[i].dtype)},
                                {"shape", std::move(shape)},
                                {"data_offsets", {offset, offset + sizes_[i]}}};
    offset += sizes_[i];
  }
  std::string text = dump_json(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begins at a multiple of 8

  UNICORN_ASSIGN(OutputFile file, OutputFile::create(shard.path));
  const std::uint64_t header_bytes = text.size();
  UNICORN_TRY(file.write(std::as_bytes(std::span(&header_bytes, 1))));
  UNICORN_TRY(file.write(std::as_bytes(std::span(text))));
  file_.emplace(std::move(file));
  return Ok{};
}

Status SafetensorsWriter::end_shard() {
  UNICORN_TRY(file_->commit());
  file_.reset();
  ++shard_;
  return Ok{};
}

Status SafetensorsWriter::append(std::string_view name, std::span<const std::byte> bytes) {
  UNICORN_CHECK_MSG(current_ < tensors_.size() && tensors_[current_].name == name, printable(name));
  UNICORN_CHECK_MSG(bytes.size() <= sizes_[current_] - done_, printable(name));
  UNICORN_TRY(file_->write(bytes));
  done_ += bytes.size();
  if (done_ < sizes_[current_]) return Ok{};
  ++current_;
  done_ = 0;
  if (current_ < shards_[shard_].end || current_ == tensors_.size()) return Ok{};
  UNICORN_TRY(end_shard());
  return begin_shard();
}

Status SafetensorsWriter::finish() {
  UNICORN_CHECK(current_ == tensors_.size());
  UNICORN_TRY(end_shard());
  if (index_.empty()) return Ok{};
  std::uint64_t total = 0;
  Json weight_map = Json::object();
  for (const Shard& shard : shards_)
    for (std::size_t i = shard.begin; i < shard.end; ++i) {
      weight_map[tensors_[i].name] = shard.path.filename().string();
      total += sizes_[i];
    }
  const Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", std::move(weight_map)}};
  const std::string text = dump_json(index, 2) + "\n";
  return write_file_atomically(index_, std::as_bytes(std::span(text)));
}

}  // namespace unicorn
