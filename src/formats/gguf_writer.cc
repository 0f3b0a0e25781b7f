#include "formats/gguf_writer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <type_traits>

#include "formats/ggml_type.h"
#include "formats/text.h"

namespace unicorn {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie in memory");

template <class T>
void put(std::vector<std::byte>& out, const T& value) {
  static_assert(std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>);
  const auto bytes = std::as_bytes(std::span(&value, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void put_string(std::vector<std::byte>& out, std::string_view text) {
  put(out, std::uint64_t{text.size()});
  const auto bytes = std::as_bytes(std::span(text));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

std::uint64_t padding_after(std::uint64_t size) {
  return (GgufWriter::kAlignment - size % GgufWriter::kAlignment) % GgufWriter::kAlignment;
}

}  // namespace

// ---- metadata ----

std::vector<std::byte>& GgufMetadata::slot(std::string_view key, GgufType type) {
  UNICORN_CHECK_MSG(!key.empty() && key.size() <= 65535 && is_valid_utf8(key), printable(key));
  auto it = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.key == key; });
  if (it == entries_.end()) it = entries_.insert(it, Entry{std::string(key), type, {}});
  it->type = type;
  it->bytes.clear();
  return it->bytes;
}

template <class T>
void GgufMetadata::set_numbers(std::string_view key, GgufType type, std::span<const T> values) {
  std::vector<std::byte>& out = slot(key, GgufType::array);
  put(out, type);
  put(out, std::uint64_t{values.size()});
  const auto bytes = std::as_bytes(values);
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void GgufMetadata::set_u32(std::string_view key, std::uint32_t value) { put(slot(key, GgufType::u32), value); }
void GgufMetadata::set_i32(std::string_view key, std::int32_t value) { put(slot(key, GgufType::i32), value); }
void GgufMetadata::set_u64(std::string_view key, std::uint64_t value) { put(slot(key, GgufType::u64), value); }
void GgufMetadata::set_f32(std::string_view key, float value) { put(slot(key, GgufType::f32), value); }
void GgufMetadata::set_bool(std::string_view key, bool value) {
  put(slot(key, GgufType::boolean), static_cast<std::uint8_t>(value));
}
void GgufMetadata::set_string(std::string_view key, std::string_view value) {
  put_string(slot(key, GgufType::string), value);
}
void GgufMetadata::set_u32s(std::string_view key, std::span<const std::uint32_t> values) {
  set_numbers(key, GgufType::u32, values);
}
void GgufMetadata::set_i32s(std::string_view key, std::span<const std::int32_t> values) {
  set_numbers(key, GgufType::i32, values);
}
void GgufMetadata::set_f32s(std::string_view key, std::span<const float> values) {
  set_numbers(key, GgufType::f32, values);
}
void GgufMetadata::set_bools(std::string_view key, const std::vector<bool>& values) {
  std::vector<std::byte>& out = slot(key, GgufType::array);
  put(out, GgufType::boolean);
  put(out, std::uint64_t{values.size()});
  for (const bool value : values) put(out, static_cast<std::uint8_t>(value));
}
void GgufMetadata::set_strings(std::string_view key, std::span<const std::string> values) {
  std::vector<std::byte>& out = slot(key, GgufType::array);
  put(out, GgufType::string);
  put(out, std::uint64_t{values.size()});
  for (const std::string& value : values) put_string(out, value);
}
void GgufMetadata::set_encoded(std::string_view key, const GgufEncoded& value) {
  slot(key, value.type).assign(value.bytes.begin(), value.bytes.end());
}

void GgufMetadata::copy_from(const GgufFile& file) {
  for (const auto& [key, value] : file.metadata()) {
    if (key == "general.alignment" || key.starts_with("split.")) continue;
    set_encoded(key, *file.encoded(key));
  }
}

bool GgufMetadata::remove(std::string_view key) {
  return std::erase_if(entries_, [&](const Entry& entry) { return entry.key == key; }) > 0;
}

// ---- file ----

GgufWriter::GgufWriter(OutputFile file, std::vector<TensorSpec> tensors, std::vector<std::uint64_t> sizes)
    : file_(std::move(file)), tensors_(std::move(tensors)), sizes_(std::move(sizes)) {}

Result<GgufWriter> GgufWriter::create(const std::filesystem::path& path, const GgufMetadata& metadata,
                                      std::vector<TensorSpec> tensors) {
  UNICORN_TRY(check_unique_names(tensors, path.string()));
  std::vector<std::byte> header;
  for (const char c : std::array{'G', 'G', 'U', 'F'}) put(header, c);
  put(header, std::uint32_t{3});
  put(header, std::uint64_t{tensors.size()});
  put(header, std::uint64_t{metadata.entries_.size()});
  for (const GgufMetadata::Entry& entry : metadata.entries_) {
    put_string(header, entry.key);
    put(header, entry.type);
    header.insert(header.end(), entry.bytes.begin(), entry.bytes.end());
  }
  std::vector<std::uint64_t> sizes;
  std::uint64_t offset = 0;
  for (const TensorSpec& spec : tensors) {
    UNICORN_ASSIGN(const std::uint64_t size, tensor_bytes(spec, path.string()));
    sizes.push_back(size);
    put_string(header, spec.name);
    put(header, static_cast<std::uint32_t>(spec.shape.rank()));
    for (std::size_t d = spec.shape.rank(); d > 0; --d) put(header, std::uint64_t{spec.shape[d - 1]});
    put(header, ggml_from_dtype(spec.dtype));
    put(header, offset);
    const auto end = checked_add(offset, size);
    const auto next = end ? checked_add(*end, padding_after(*end)) : std::nullopt;
    if (!next) return file_error(ErrorCode::invalid_argument, path.string(), "its tensors are too large for one file");
    offset = *next;
  }
  header.resize(header.size() + padding_after(header.size()));

  UNICORN_ASSIGN(OutputFile file, OutputFile::create(path));
  UNICORN_TRY(file.write(header));
  return GgufWriter(std::move(file), std::move(tensors), std::move(sizes));
}

Status GgufWriter::append(std::string_view name, std::span<const std::byte> bytes) {
  UNICORN_CHECK_MSG(current_ < tensors_.size() && tensors_[current_].name == name, printable(name));
  UNICORN_CHECK_MSG(bytes.size() <= sizes_[current_] - done_, printable(name));
  UNICORN_TRY(file_.write(bytes));
  done_ += bytes.size();
  if (done_ < sizes_[current_]) return Ok{};
  ++current_;
  done_ = 0;
  return pad();
}

Status GgufWriter::pad() {
  constexpr std::array<std::byte, kAlignment> kZeros{};
  return file_.write(std::span(kZeros).first(padding_after(file_.size())));
}

Status GgufWriter::finish() {
  UNICORN_CHECK(current_ == tensors_.size());
  return file_.commit();
}

}  // namespace unicorn
