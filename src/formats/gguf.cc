#include "formats/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>

#include "formats/extents.h"
#include "formats/ggml_type.h"
#include "formats/text.h"

namespace unicorn {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are read as they lie in the file");
static_assert(sizeof(std::size_t) == 8, "files and tensors may exceed 4 GiB");

constexpr std::uint64_t kMaxKeyBytes = 65535;     // the specification's limit
constexpr std::uint64_t kMaxElements = 1u << 26;  // of a metadata array; the largest seen is a vocabulary of 2^18
constexpr std::uint64_t kMaxAlignment = 1u << 30;
constexpr std::uint64_t kMinTensorInfoBytes = 8 + 4 + 4 + 8;  // empty name, no dimensions
constexpr std::uint64_t kMinKeyValueBytes = 8 + 4 + 1;

std::string_view type_name(GgufType type) {
  constexpr std::string_view kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                         "bool", "string", "array", "u64", "i64", "f64"};
  return kNames[static_cast<std::size_t>(type)];
}

// Bytes of one value, at least; 0 for an unknown type.
std::uint64_t least_bytes(std::uint32_t type) {
  constexpr std::uint8_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
  return type < std::size(kBytes) ? kBytes[type] : 0;
}

// Reads forward through a file's bytes. Every read is checked; a failed one leaves the cursor where it was.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::uint64_t pos() const { return pos_; }
  std::uint64_t left() const { return bytes_.size() - pos_; }

  template <class T>
  bool read(T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (left() < sizeof value) return false;
    std::memcpy(&value, bytes_.data() + pos_, sizeof value);
    pos_ += sizeof value;
    return true;
  }

  // A u64 length and so many bytes, seen in place.
  bool read_string(std::string_view& text) {
    std::uint64_t n = 0;
    if (left() < sizeof n) return false;
    std::memcpy(&n, bytes_.data() + pos_, sizeof n);
    if (n > left() - sizeof n) return false;
    text = {reinterpret_cast<const char*>(bytes_.data() + pos_ + sizeof n), n};
    pos_ += sizeof n + n;
    return true;
  }

  std::span<const std::byte> since(std::uint64_t begin) const { return bytes_.subspan(begin, pos_ - begin); }

 private:
  std::span<const std::byte> bytes_;
  std::uint64_t pos_ = 0;
};

// Where a split set's files lie: `stem`-00002-of-00003.gguf.
struct SplitName {
  std::string stem;
  std::uint64_t number, count;  // 1-based
};

std::optional<SplitName> parse_split_name(const std::string& filename) {
  //  stem - n n n n n - o f - n n n n n . g g u f
  constexpr std::size_t kTail = 1 + 5 + 4 + 5 + 5;
  if (filename.size() <= kTail) return std::nullopt;
  const std::string_view tail = std::string_view(filename).substr(filename.size() - kTail);
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || tail.substr(15) != ".gguf") return std::nullopt;
  const auto number = [](std::string_view digits) -> std::optional<std::uint64_t> {
    std::uint64_t n = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
    if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
    return n;
  };
  const auto index = number(tail.substr(1, 5)), count = number(tail.substr(10, 5));
  if (!index || !count || *index < 1 || *index > *count) return std::nullopt;
  return SplitName{filename.substr(0, filename.size() - kTail), *index, *count};
}

}  // namespace

// Reads one file; GgufFile::open puts the parts of a set together.
struct GgufReader {
  std::span<const std::byte> bytes;
  std::string name;  // for messages
  Cursor cursor;
  GgufFile file;
  std::uint64_t alignment = 32;

  GgufReader(std::span<const std::byte> b, std::string n) : bytes(b), name(std::move(n)), cursor(b) {}

  template <class... Args>
  Error corrupt(fmt::format_string<Args...> text, Args&&... args) const {
    return file_error(ErrorCode::corrupt_file, name, text, std::forward<Args>(args)...);
  }
  template <class... Args>
  Error unsupported(fmt::format_string<Args...> text, Args&&... args) const {
    return file_error(ErrorCode::unsupported, name, text, std::forward<Args>(args)...);
  }

  Status read() {
    std::uint64_t n_tensors = 0, n_keys = 0;
    UNICORN_TRY(read_header(n_tensors, n_keys));
    file.metadata_.reserve(n_keys);
    file.encoded_.reserve(n_keys);
    for (std::uint64_t i = 0; i < n_keys; ++i) UNICORN_TRY(read_key_value(i, n_keys));
    UNICORN_TRY(check_keys());
    return read_tensors(n_tensors);
  }

  Status read_header(std::uint64_t& n_tensors, std::uint64_t& n_keys) {
    char magic[4];
    if (!cursor.read(magic)) return corrupt("not a GGUF file: {} bytes are too few for its header", bytes.size());
    if (std::memcmp(magic, "GGUF", 4) != 0) {
      const std::string_view found(magic, 4);
      if (found == "lmgg" || found == "tjgg" || found == "fmgg" || found == "algg")  // a u32 written little-endian
        return unsupported("a GGML file from before GGUF; convert the original model anew");
      return corrupt("not a GGUF file: it begins with {}, expected 'GGUF'", printable(found));
    }
    std::uint32_t version = 0;
    if (!cursor.read(version)) return corrupt("cut off after 'GGUF'");
    if (version != 0 && (version & 0xffffu) == 0)
      return unsupported("a big-endian GGUF file; only little-endian ones are read");
    if (version == 1) return unsupported("GGUF version 1, expected 2 or 3; convert the original model anew");
    if (version != 2 && version != 3) return unsupported("GGUF version {}, expected 2 or 3", version);
    file.version_ = version;
    if (!cursor.read(n_tensors) || !cursor.read(n_keys)) return corrupt("cut off in its header");
    if (n_keys > cursor.left() / kMinKeyValueBytes)
      return corrupt("{} metadata keys do not fit into the {} bytes after the header", n_keys, cursor.left());
    if (n_tensors > cursor.left() / kMinTensorInfoBytes)
      return corrupt("{} tensors do not fit into the {} bytes after the header", n_tensors, cursor.left());
    return Ok{};
  }

  Status read_key_value(std::uint64_t i, std::uint64_t n_keys) {
    std::string_view key;
    if (!cursor.read_string(key)) return corrupt("cut off in the name of metadata key {} of {}", i + 1, n_keys);
    if (key.size() > kMaxKeyBytes)
      return corrupt("metadata key {} has a name of {} bytes, at most {} are allowed", i + 1, key.size(), kMaxKeyBytes);
    if (!is_valid_utf8(key)) return corrupt("metadata key {} {} is not valid UTF-8", i + 1, printable(key));
    std::uint32_t type = 0;
    if (!cursor.read(type)) return corrupt("cut off after key {}", printable(key));
    const std::uint64_t begin = cursor.pos();
    GgufValue value;
    UNICORN_TRY(read_value(key, type, value));
    file.metadata_.emplace_back(key, std::move(value));
    file.encoded_.push_back({static_cast<GgufType>(type), cursor.since(begin)});
    return Ok{};
  }

  Status read_value(std::string_view key, std::uint32_t type, GgufValue& value) {
    if (least_bytes(type) == 0) return corrupt("key {} has value type {}, expected 0 to 12", printable(key), type);
    if (cursor.left() < least_bytes(type)) return corrupt("cut off in the value of key {}", printable(key));
    switch (static_cast<GgufType>(type)) {
      case GgufType::u8:
        value = std::uint64_t{next<std::uint8_t>()};
        return Ok{};
      case GgufType::u16:
        value = std::uint64_t{next<std::uint16_t>()};
        return Ok{};
      case GgufType::u32:
        value = std::uint64_t{next<std::uint32_t>()};
        return Ok{};
      case GgufType::u64:
        value = next<std::uint64_t>();
        return Ok{};
      case GgufType::i8:
        value = std::int64_t{next<std::int8_t>()};
        return Ok{};
      case GgufType::i16:
        value = std::int64_t{next<std::int16_t>()};
        return Ok{};
      case GgufType::i32:
        value = std::int64_t{next<std::int32_t>()};
        return Ok{};
      case GgufType::i64:
        value = next<std::int64_t>();
        return Ok{};
      case GgufType::f32:
        value = double{next<float>()};
        return Ok{};
      case GgufType::f64:
        value = next<double>();
        return Ok{};
      case GgufType::boolean: {
        const auto byte = next<std::uint8_t>();
        if (byte > 1) return corrupt("key {} is a boolean of value {}, expected 0 or 1", printable(key), byte);
        value = byte == 1;
        return Ok{};
      }
      case GgufType::string: {
        std::string_view text;
        if (!cursor.read_string(text)) return corrupt("cut off in the string of key {}", printable(key));
        value = std::string(text);
        return Ok{};
      }
      case GgufType::array:
        return read_array(key, value);
    }
    return Ok{};
  }

  Status read_array(std::string_view key, GgufValue& value) {
    const auto type = next<std::uint32_t>();
    const auto count = next<std::uint64_t>();
    if (least_bytes(type) == 0)
      return corrupt("key {} is an array of value type {}, expected 0 to 12", printable(key), type);
    const auto element = static_cast<GgufType>(type);
    if (element == GgufType::array) return unsupported("key {} is an array of arrays", printable(key));
    if (count > cursor.left() / least_bytes(type))
      return corrupt("key {} is an array of {} × {}, which does not fit into the {} bytes left", printable(key), count,
                     type_name(element), cursor.left());
    if (count > kMaxElements)
      return unsupported("key {} is an array of {} elements, at most {} are read", printable(key), count, kMaxElements);
    switch (element) {
      case GgufType::u8:
        value = take<std::uint8_t, std::uint64_t>(count);
        return Ok{};
      case GgufType::u16:
        value = take<std::uint16_t, std::uint64_t>(count);
        return Ok{};
      case GgufType::u32:
        value = take<std::uint32_t, std::uint64_t>(count);
        return Ok{};
      case GgufType::u64:
        value = take<std::uint64_t, std::uint64_t>(count);
        return Ok{};
      case GgufType::i8:
        value = take<std::int8_t, std::int64_t>(count);
        return Ok{};
      case GgufType::i16:
        value = take<std::int16_t, std::int64_t>(count);
        return Ok{};
      case GgufType::i32:
        value = take<std::int32_t, std::int64_t>(count);
        return Ok{};
      case GgufType::i64:
        value = take<std::int64_t, std::int64_t>(count);
        return Ok{};
      case GgufType::f32:
        value = take<float, double>(count);
        return Ok{};
      case GgufType::f64:
        value = take<double, double>(count);
        return Ok{};
      case GgufType::boolean: {
        std::vector<bool> flags(count);
        for (std::uint64_t i = 0; i < count; ++i) {
          const auto byte = next<std::uint8_t>();
          if (byte > 1) return corrupt("key {}[{}] is a boolean of value {}, expected 0 or 1", printable(key), i, byte);
          flags[i] = byte == 1;
        }
        value = std::move(flags);
        return Ok{};
      }
      case GgufType::string: {
        std::vector<std::string> strings;
        strings.reserve(count);
        for (std::uint64_t i = 0; i < count; ++i) {
          std::string_view text;
          if (!cursor.read_string(text))
            return corrupt("cut off in string {} of {} of key {}", i + 1, count, printable(key));
          strings.emplace_back(text);
        }
        value = std::move(strings);
        return Ok{};
      }
      case GgufType::array:
        break;  // refused above
    }
    return Ok{};
  }

  // Precondition: the bytes are there.
  template <class T>
  T next() {
    T value{};
    UNICORN_CHECK(cursor.read(value));
    return value;
  }
  template <class From, class To>
  std::vector<To> take(std::uint64_t count) {
    std::vector<To> values(count);
    for (To& v : values) v = static_cast<To>(next<From>());
    return values;
  }

  Status check_keys() {
    std::vector<std::string_view> keys;
    keys.reserve(file.metadata_.size());
    for (const auto& entry : file.metadata_) keys.push_back(entry.first);
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) return corrupt("key {} occurs twice", printable(*twice));

    if (file.find("general.alignment") != nullptr) {
      const auto wanted = file.get_uint("general.alignment");
      if (!wanted) return corrupt("key 'general.alignment' is not a whole number");
      if (!std::has_single_bit(*wanted) || *wanted < 8 || *wanted > kMaxAlignment)
        return corrupt("key 'general.alignment' is {}, expected a power of two from 8 to {}", *wanted, kMaxAlignment);
      alignment = *wanted;
    }
    return Ok{};
  }

  Status read_tensors(std::uint64_t n_tensors) {
    struct Info {
      TensorEntry entry;
      std::uint64_t offset, size;  // in the data section
    };
    if (n_tensors > cursor.left() / kMinTensorInfoBytes)
      return corrupt("{} tensors do not fit into the {} bytes after the metadata", n_tensors, cursor.left());
    std::vector<Info> infos;
    infos.reserve(n_tensors);
    for (std::uint64_t i = 0; i < n_tensors; ++i) {
      Info info{};
      UNICORN_TRY(read_tensor_info(i, n_tensors, info.entry, info.offset, info.size));
      infos.push_back(std::move(info));
    }

    // The data section begins at the next multiple of the alignment.
    const std::uint64_t data_begin = (cursor.pos() + alignment - 1) / alignment * alignment;
    const std::uint64_t data_bytes = data_begin <= bytes.size() ? bytes.size() - data_begin : 0;
    std::vector<Extent> extents;
    extents.reserve(infos.size());
    for (Info& info : infos) {
      const auto end = checked_add(info.offset, info.size);
      if (!end || *end > data_bytes)
        return corrupt("tensor {} takes {} bytes at offset {} of the data section, which has {} (a truncated file?)",
                       printable(info.entry.name), info.size, info.offset, data_bytes);
      info.entry.view.data = bytes.data() + data_begin + info.offset;
      extents.push_back({info.offset, *end, extents.size()});
    }
    if (const auto overlap = find_overlap(extents))
      return corrupt("tensors {} and {} overlap", printable(infos[overlap->first].entry.name),
                     printable(infos[overlap->second].entry.name));
    for (Info& info : infos) UNICORN_TRY(file.tensors_.add(std::move(info.entry)));
    return Ok{};
  }

  Status read_tensor_info(std::uint64_t i, std::uint64_t n_tensors, TensorEntry& entry, std::uint64_t& offset,
                          std::uint64_t& size) {
    std::string_view text;
    if (!cursor.read_string(text)) return corrupt("cut off in the name of tensor {} of {}", i + 1, n_tensors);
    if (text.size() > kMaxKeyBytes)
      return corrupt("tensor {} has a name of {} bytes, at most {} are allowed", i + 1, text.size(), kMaxKeyBytes);
    if (text.empty()) return corrupt("tensor {} of {} has no name", i + 1, n_tensors);
    if (!is_valid_utf8(text)) return corrupt("tensor {} {} has a name that is not valid UTF-8", i + 1, printable(text));
    entry.name = text;
    entry.file = name;
    const std::string label = printable(text);

    std::uint32_t n_dims = 0;
    if (!cursor.read(n_dims)) return corrupt("cut off after the name of tensor {}", label);
    if (n_dims > Shape::kMaxRank)
      return corrupt("tensor {} has {} dimensions, at most {} are allowed", label, n_dims, Shape::kMaxRank);
    std::uint64_t dims[Shape::kMaxRank] = {};
    std::uint64_t n_elements = 1;
    for (std::uint32_t d = 0; d < n_dims; ++d) {
      if (!cursor.read(dims[d])) return corrupt("cut off in the dimensions of tensor {}", label);
      if (dims[d] == 0) return corrupt("tensor {} has no elements: dimension {} of {} is 0", label, d + 1, n_dims);
      const auto product = checked_mul(n_elements, dims[d]);
      if (!product)
        return corrupt("tensor {} is too large: its dimensions' product overflows at dimension {} ({})", label, d + 1,
                       dims[d]);
      n_elements = *product;
    }
    for (std::uint32_t d = n_dims; d > 0; --d) entry.view.shape.push_back(dims[d - 1]);  // written innermost first

    std::uint32_t type = 0;
    if (!cursor.read(type) || !cursor.read(offset)) return corrupt("cut off in the type or offset of tensor {}", label);
    const auto dtype = dtype_from_ggml(type);
    if (!dtype) return unsupported("tensor {} has type {}, which is not supported", label, ggml_type_name(type));
    entry.view.dtype = *dtype;

    const DTypeInfo& info = dtype_info(*dtype);
    const std::uint64_t k = entry.view.shape.k();
    if (k % info.block != 0)
      return corrupt("tensor {} has rows of {} elements, expected a multiple of {} for {}", label, k, info.block,
                     info.name);
    const auto total =
        checked_mul(n_elements / info.block, info.block_bytes);  // k is a multiple, so the product is too
    if (!total) return corrupt("tensor {} {} is too large", label, to_string(entry.view.shape));
    size = *total;
    entry.view.row_stride_bytes = k / info.block * info.block_bytes;  // a factor of total
    if (offset % alignment != 0)
      return corrupt("tensor {} lies at offset {}, expected a multiple of {}", label, offset, alignment);
    return Ok{};
  }

  static Result<GgufReader> read_file(const std::filesystem::path& path) {
    UNICORN_ASSIGN(MappedFile mapped, MappedFile::open(path));
    GgufReader reader(mapped.bytes(), path.string());
    UNICORN_TRY(reader.read());
    reader.file.tensors_.add_file(std::move(mapped));
    return reader;
  }

  // The checks on a part of a set, and its tensors into `all`.
  static Status join(GgufFile& all, GgufFile part, const std::string& file, std::uint64_t number, std::uint64_t count) {
    constexpr auto kCorrupt = ErrorCode::corrupt_file;
    const auto count_key = part.get_uint("split.count"), number_key = part.get_uint("split.no");
    if (!count_key || !number_key)
      return file_error(kCorrupt, file, "named as part of a split set, but has no keys 'split.no' and 'split.count'");
    if (*count_key != count)
      return file_error(kCorrupt, file, "key 'split.count' is {}, expected {} by the file's name", *count_key, count);
    if (*number_key != number - 1)
      return file_error(kCorrupt, file, "key 'split.no' is {}, expected {} by the file's name", *number_key,
                        number - 1);
    if (number == 1) {
      all.metadata_ = std::move(part.metadata_);
      all.encoded_ = std::move(part.encoded_);
      all.version_ = part.version_;
    }
    for (const TensorEntry& entry : part.tensors_.entries()) UNICORN_TRY(all.tensors_.add(entry));
    for (const auto& mapped : part.tensors_.files()) all.tensors_.add_file(std::move(*mapped));
    return Ok{};
  }

  static Result<GgufFile> open(const std::filesystem::path& path) {
    UNICORN_ASSIGN(GgufReader first, read_file(path));
    const auto split = parse_split_name(path.filename().string());
    const std::uint64_t declared = first.file.get_uint("split.count").value_or(1);
    if (!split || split->count == 1) {
      if (declared <= 1) return std::move(first.file);
      return file_error(
          ErrorCode::not_found, path.string(),
          "one of {} parts of a split set, but its name does not end in -00001-of-{:05}.gguf, so that the "
          "others cannot be found",
          declared, declared);
    }

    GgufFile all;
    for (std::uint64_t number = 1; number <= split->count; ++number) {
      const std::filesystem::path part_path =
          path.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", split->stem, number, split->count);
      if (number == split->number) {
        UNICORN_TRY(join(all, std::move(first.file), part_path.string(), number, split->count));
        continue;
      }
      auto part = read_file(part_path);
      if (!part.ok() && part.error().code == ErrorCode::not_found)
        return file_error(ErrorCode::not_found, part_path.string(), "part {} of {} is missing (the set of {})", number,
                          split->count, path.string());
      if (!part.ok()) return std::move(part).error();
      UNICORN_TRY(join(all, std::move(part->file), part_path.string(), number, split->count));
    }
    const auto n_tensors = all.get_uint("split.tensors.count");
    if (n_tensors && *n_tensors != all.tensors_.entries().size())
      return file_error(ErrorCode::corrupt_file, path.string(),
                        "the {} parts of the set hold {} tensors, expected {} (split.tensors.count)", split->count,
                        all.tensors_.entries().size(), *n_tensors);
    return all;
  }
};

Result<GgufFile> GgufFile::open(const std::filesystem::path& path) {
  try {
    return GgufReader::open(path);
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory, path.string() + ": not enough memory for its metadata"};
  }
}

Result<GgufFile> GgufFile::parse(std::span<const std::byte> bytes, const std::string& name) {
  try {
    GgufReader reader(bytes, name);
    UNICORN_TRY(reader.read());
    if (const auto count = reader.file.get_uint("split.count"); count && *count > 1)
      return file_error(ErrorCode::unsupported, name, "one of {} parts of a split set", *count);
    return std::move(reader.file);
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory, name + ": not enough memory for its metadata"};
  }
}

// ---- look-ups ----

std::optional<std::size_t> GgufFile::index_of(std::string_view key) const {
  for (std::size_t i = 0; i < metadata_.size(); ++i)
    if (metadata_[i].first == key) return i;
  return std::nullopt;
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto i = index_of(key);
  return i ? &metadata_[*i].second : nullptr;
}

const GgufEncoded* GgufFile::encoded(std::string_view key) const {
  const auto i = index_of(key);
  return i ? &encoded_[*i] : nullptr;
}

std::optional<std::uint64_t> GgufFile::get_uint(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* u = std::get_if<std::uint64_t>(value)) return *u;
  if (const auto* i = std::get_if<std::int64_t>(value))
    return *i >= 0 ? std::optional(static_cast<std::uint64_t>(*i)) : std::nullopt;
  if (const auto* d = std::get_if<double>(value))
    if (*d >= 0.0 && *d < 0x1p64 && *d == static_cast<double>(static_cast<std::uint64_t>(*d)))
      return static_cast<std::uint64_t>(*d);
  return std::nullopt;
}

std::optional<double> GgufFile::get_float(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  constexpr std::uint64_t kExact = std::uint64_t{1} << 53;  // whole numbers up to here are doubles
  if (const auto* d = std::get_if<double>(value)) return *d;
  if (const auto* u = std::get_if<std::uint64_t>(value))
    return *u <= kExact ? std::optional(static_cast<double>(*u)) : std::nullopt;
  if (const auto* i = std::get_if<std::int64_t>(value))
    return *i >= -static_cast<std::int64_t>(kExact) && *i <= static_cast<std::int64_t>(kExact)
               ? std::optional(static_cast<double>(*i))
               : std::nullopt;
  return std::nullopt;
}

std::optional<bool> GgufFile::get_bool(std::string_view key) const {
  const GgufValue* value = find(key);
  const bool* flag = value == nullptr ? nullptr : std::get_if<bool>(value);
  return flag == nullptr ? std::nullopt : std::optional(*flag);
}

std::optional<std::string_view> GgufFile::get_string(std::string_view key) const {
  const GgufValue* value = find(key);
  const auto* text = value == nullptr ? nullptr : std::get_if<std::string>(value);
  return text == nullptr ? std::nullopt : std::optional<std::string_view>(*text);
}

std::optional<std::vector<double>> GgufFile::get_numbers(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto convert = [](const auto& values) {
    std::vector<double> out;
    out.reserve(values.size());
    for (const auto v : values) out.push_back(static_cast<double>(v));
    return out;
  };
  if (const auto* v = std::get_if<std::vector<double>>(value)) return *v;
  if (const auto* v = std::get_if<std::vector<std::uint64_t>>(value)) return convert(*v);
  if (const auto* v = std::get_if<std::vector<std::int64_t>>(value)) return convert(*v);
  if (const auto* v = std::get_if<std::vector<bool>>(value)) return convert(*v);
  return std::nullopt;
}

const std::vector<std::string>* GgufFile::get_strings(std::string_view key) const {
  const GgufValue* value = find(key);
  return value == nullptr ? nullptr : std::get_if<std::vector<std::string>>(value);
}

}  // namespace unicorn
