#include "formats/safetensors.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <optional>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "formats/extents.h"
#include "formats/text.h"

namespace unicorn {
namespace {

namespace dom = simdjson::dom;
namespace fs = std::filesystem;

constexpr std::uint64_t kMaxJsonBytes = 100'000'000;  // the official reader's cap on a header
constexpr std::size_t kMaxDepth = 32;

std::optional<DType> dtype_from_safetensors(std::string_view name) {
  if (name == "F32") return DType::f32;
  if (name == "F16") return DType::f16;
  if (name == "BF16") return DType::bf16;
  return std::nullopt;
}

template <class... Args>
Error corrupt(std::string_view file, fmt::format_string<Args...> text, Args&&... args) {
  return file_error(ErrorCode::corrupt_file, file, text, std::forward<Args>(args)...);
}

// The object at the top of `json`, which lives in `parser`.
Result<dom::object> parse_object(dom::parser& parser, std::string_view json, const std::string& file,
                                 std::string_view what) {
  dom::element root;
  const auto error = [&](simdjson::error_code code) {
    return corrupt(file, "{} is not valid JSON: {}", what, simdjson::error_message(code));
  };
  if (json.empty()) return corrupt(file, "{} is empty", what);
  if (const auto code = parser.allocate(json.size(), kMaxDepth)) return error(code);
  if (const auto code = parser.parse(json.data(), json.size()).get(root)) return error(code);
  dom::object object;
  if (root.get(object)) return corrupt(file, "{} is not a JSON object", what);
  return object;
}

}  // namespace

struct SafetensorsReader {
  // One file's tensors into `out`; `listed` (with an index) decides which.
  static Status read(std::span<const std::byte> bytes, const std::string& file, SafetensorsFile& out,
                     const std::set<std::string, std::less<>>* listed) {
    std::uint64_t header_bytes = 0;
    if (bytes.size() < sizeof header_bytes)
      return corrupt(file, "not a safetensors file: {} bytes are too few", bytes.size());
    std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
    const std::uint64_t left = bytes.size() - sizeof header_bytes;
    if (header_bytes > left) {
      if (std::memcmp(bytes.data(), "GGUF", 4) == 0)
        return corrupt(file, "this is a GGUF file, not a safetensors file");
      return corrupt(file, "header of {} bytes expected, {} are left (truncated, or not a safetensors file)",
                     header_bytes, left);
    }
    if (header_bytes > kMaxJsonBytes)
      return file_error(ErrorCode::unsupported, file, "header of {} bytes, at most {} are read", header_bytes,
                        kMaxJsonBytes);

    const std::string_view json(reinterpret_cast<const char*>(bytes.data()) + sizeof header_bytes, header_bytes);
    dom::parser parser;
    UNICORN_ASSIGN(const dom::object header, parse_object(parser, json, file, "header"));

    const std::span<const std::byte> data = bytes.subspan(sizeof header_bytes + header_bytes);
    std::vector<Extent> extents;
    std::vector<std::string_view> names;  // of all tensors, ours or not
    for (const auto& [name, value] : header) {
      if (name == "__metadata__") {
        UNICORN_TRY(read_metadata(value, file, out));
        continue;
      }
      if (name.empty()) return corrupt(file, "a tensor has no name");
      TensorEntry entry;
      entry.name = std::string(name);
      entry.file = file;
      Tensor tensor;
      UNICORN_TRY(read_tensor(value, file, name, tensor));
      if (tensor.end > data.size())
        return corrupt(file, "tensor {} ends at byte {} of the data, which has {} (a truncated file?)", printable(name),
                       tensor.end, data.size());
      if (tensor.end > tensor.begin) extents.push_back({tensor.begin, tensor.end, names.size()});
      names.push_back(name);
      if (listed != nullptr && listed->count(name) == 0) continue;
      const auto dtype = dtype_from_safetensors(tensor.dtype);
      if (!dtype) {
        if (!out.skipped_.try_emplace(entry.name, tensor.dtype).second)
          return corrupt(file, "tensor {} occurs twice", printable(name));
        continue;
      }
      entry.view.dtype = *dtype;
      UNICORN_TRY(shape_of(tensor, file, name, entry.view));
      entry.view.data = data.data() + tensor.begin;
      UNICORN_TRY(out.tensors_.add(std::move(entry)));
    }

    if (const auto overlap = find_overlap(extents))
      return corrupt(file, "tensors {} and {} overlap", printable(names[overlap->first]),
                     printable(names[overlap->second]));
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) return corrupt(file, "tensor {} occurs twice", printable(*twice));
    return Ok{};
  }

  struct Tensor {
    std::string_view dtype;
    std::vector<std::uint64_t> shape;
    std::uint64_t begin = 0, end = 0;
  };

  static Status read_tensor(const dom::element& value, const std::string& file, std::string_view name, Tensor& tensor) {
    const auto wrong = [&](std::string_view what) { return corrupt(file, "tensor {} {}", printable(name), what); };
    dom::object object;
    if (value.get(object)) return wrong("is not described by a JSON object");
    bool has_dtype = false, has_shape = false, has_offsets = false;
    for (const auto& [key, field] : object) {
      if (key == "dtype") {
        if (std::exchange(has_dtype, true)) return wrong("has two dtypes");
        if (field.get(tensor.dtype)) return wrong("has a 'dtype' that is not a string");
      } else if (key == "shape") {
        if (std::exchange(has_shape, true)) return wrong("has two shapes");
        dom::array dims;
        if (field.get(dims)) return wrong("has a 'shape' that is not an array");
        for (const dom::element dim : dims) {
          std::uint64_t size = 0;
          if (dim.get(size)) return wrong("has a 'shape' of other than whole numbers");
          tensor.shape.push_back(size);
        }
      } else if (key == "data_offsets") {
        if (std::exchange(has_offsets, true)) return wrong("has two 'data_offsets'");
        dom::array offsets;
        if (field.get(offsets) || offsets.size() != 2 || offsets.at(0).get(tensor.begin) ||
            offsets.at(1).get(tensor.end))
          return wrong("has 'data_offsets' other than two whole numbers");
        if (tensor.begin > tensor.end)
          return wrong(
              fmt::format("has 'data_offsets' [{}, {}], which end before they begin", tensor.begin, tensor.end));
      }
    }
    if (!has_dtype) return wrong("has no 'dtype'");
    if (!has_shape) return wrong("has no 'shape'");
    if (!has_offsets) return wrong("has no 'data_offsets'");
    return Ok{};
  }

  static Status shape_of(const Tensor& tensor, const std::string& file, std::string_view name, TensorView& view) {
    if (tensor.shape.size() > Shape::kMaxRank)
      return corrupt(file, "tensor {} has {} dimensions, at most {} are allowed", printable(name), tensor.shape.size(),
                     Shape::kMaxRank);
    const std::uint64_t element_bytes = dtype_info(view.dtype).block_bytes;
    std::uint64_t size = element_bytes;
    for (std::size_t d = 0; d < tensor.shape.size(); ++d) {
      if (tensor.shape[d] == 0)
        return corrupt(file, "tensor {} has no elements: dimension {} is 0", printable(name), d);
      const auto product = checked_mul(size, tensor.shape[d]);
      if (!product)
        return corrupt(file, "tensor {} is too large: its size overflows at dimension {} ({})", printable(name), d,
                       tensor.shape[d]);
      size = *product;
      view.shape.push_back(tensor.shape[d]);
    }
    if (tensor.end - tensor.begin != size)
      return corrupt(file, "tensor {} has {} bytes, expected {} for {} {}", printable(name), tensor.end - tensor.begin,
                     size, tensor.dtype, to_string(view.shape));
    view.row_stride_bytes = view.shape.k() * element_bytes;
    return Ok{};
  }

  static Status read_metadata(const dom::element& value, const std::string& file, SafetensorsFile& out) {
    dom::object object;
    if (value.get(object)) return corrupt(file, "'__metadata__' is not a JSON object");
    for (const auto& [key, field] : object) {
      std::string_view text;
      if (field.get(text)) return corrupt(file, "'__metadata__' key {} is not a string", printable(key));
      out.metadata_.try_emplace(std::string(key), text);
    }
    return Ok{};
  }

  static Status read_mapped(const fs::path& path, SafetensorsFile& out,
                            const std::set<std::string, std::less<>>* listed) {
    UNICORN_ASSIGN(MappedFile mapped, MappedFile::open(path));
    UNICORN_TRY(read(mapped.bytes(), path.string(), out, listed));
    out.tensors_.add_file(std::move(mapped));
    return Ok{};
  }

  static Result<SafetensorsFile> open_index(const fs::path& path) {
    const std::string file = path.string();
    UNICORN_ASSIGN(const MappedFile mapped, MappedFile::open(path));
    if (mapped.bytes().size() > kMaxJsonBytes)
      return file_error(ErrorCode::unsupported, file, "{} bytes, at most {} are read", mapped.bytes().size(),
                        kMaxJsonBytes);
    dom::parser parser;
    const std::string_view json(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size());
    UNICORN_ASSIGN(const dom::object index, parse_object(parser, json, file, "index"));
    dom::object weight_map;
    if (index["weight_map"].get(weight_map)) return corrupt(file, "has no 'weight_map' object");

    std::map<std::string, std::set<std::string, std::less<>>> shards;  // shard file → its tensors
    std::set<std::string_view> seen;
    for (const auto& [name, value] : weight_map) {
      std::string_view shard;
      if (value.get(shard))
        return corrupt(file, "tensor {} is mapped to something other than a file name", printable(name));
      // A plain name in the index's own folder; anything that could lead out of it is refused, not resolved.
      if (shard.empty() || shard == "." || shard == ".." ||
          shard.find_first_of(std::string_view("/\\\0", 3)) != std::string_view::npos)
        return corrupt(file, "tensor {} is mapped to {}, which is not a file name in the index's folder",
                       printable(name), printable(shard));
      if (!seen.insert(name).second) return corrupt(file, "tensor {} occurs twice", printable(name));
      shards[std::string(shard)].emplace(name);
    }

    SafetensorsFile all;
    for (const auto& [shard, tensors] : shards) {
      const fs::path shard_path = path.parent_path() / shard;
      std::error_code ignored;
      if (!fs::exists(shard_path, ignored))
        return file_error(ErrorCode::not_found, shard_path.string(), "shard is missing, {} lists it for tensor {}",
                          file, printable(*tensors.begin()));
      UNICORN_TRY(read_mapped(shard_path, all, &tensors));
      for (const std::string& name : tensors)
        if (all.tensors_.find(name) == nullptr && all.skipped_.count(name) == 0)
          return corrupt(shard_path.string(), "lacks tensor {}, which {} maps to it", printable(name), file);
    }
    return all;
  }

  static Result<SafetensorsFile> open_folder(const fs::path& folder) {
    std::error_code error;
    if (fs::exists(folder / "model.safetensors", error)) return open(folder / "model.safetensors");
    if (fs::exists(folder / "model.safetensors.index.json", error))
      return open(folder / "model.safetensors.index.json");
    std::vector<fs::path> found;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
      if (it->path().extension() == ".safetensors") found.push_back(it->path());
    if (error) return file_error(ErrorCode::io, folder.string(), "cannot list the folder: {}", error.message());
    if (found.size() == 1) return open(found[0]);
    if (found.empty()) return file_error(ErrorCode::not_found, folder.string(), "no .safetensors file in this folder");
    return file_error(ErrorCode::not_found, folder.string(),
                      "{} .safetensors files but no model.safetensors.index.json that says which tensor is where",
                      found.size());
  }

  static Result<SafetensorsFile> open(const fs::path& path) {
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) return open_folder(path);
    if (path.string().ends_with(".index.json")) return open_index(path);
    SafetensorsFile file;
    UNICORN_TRY(read_mapped(path, file, nullptr));
    return file;
  }
};

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  try {
    return SafetensorsReader::open(path);
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory, path.string() + ": not enough memory for its header"};
  }
}

Result<SafetensorsFile> SafetensorsFile::parse(std::span<const std::byte> bytes, const std::string& name) {
  try {
    SafetensorsFile file;
    UNICORN_TRY(SafetensorsReader::read(bytes, name, file, nullptr));
    return file;
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory, name + ": not enough memory for its header"};
  }
}

}  // namespace unicorn
