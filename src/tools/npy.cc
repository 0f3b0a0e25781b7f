#include "tools/npy.h"

#include <fmt/core.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

namespace unicorn {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "values are written as they lie in memory");

namespace {

constexpr std::string_view kMagic{"\x93NUMPY\x01\x00", 8};

std::string reason() { return std::strerror(errno); }  // the caller's errno, before anything else touches it

}  // namespace

//   8 bytes            2 bytes          118 bytes
//   93 NUMPY 01 00     header length    {'descr': '<f4', 'fortran_order': False, 'shape': (3, 256), }   …spaces\n
std::string npy_header(std::size_t n_rows, std::size_t width) {
  constexpr std::size_t kPrefixBytes = 10;
  constexpr std::size_t kTextBytes = kNpyHeaderBytes - kPrefixBytes;
  std::string text = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", n_rows, width);
  text.resize(kTextBytes - 1, ' ');
  text += '\n';
  std::string header(kMagic);
  header += static_cast<char>(kTextBytes & 0xff);
  header += static_cast<char>(kTextBytes >> 8);
  return header + text;
}

NpyWriter::NpyWriter(fs::path path, fs::path temporary, std::FILE* file)
    : path_(std::move(path)), temporary_(std::move(temporary)), file_(file) {}

NpyWriter::NpyWriter(NpyWriter&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      file_(std::exchange(other.file_, nullptr)),
      n_values_(other.n_values_) {}

NpyWriter& NpyWriter::operator=(NpyWriter&& other) noexcept {
  if (this != &other) {
    discard();
    path_ = std::move(other.path_);
    temporary_ = std::move(other.temporary_);
    file_ = std::exchange(other.file_, nullptr);
    n_values_ = other.n_values_;
  }
  return *this;
}

NpyWriter::~NpyWriter() { discard(); }

void NpyWriter::discard() {
  if (file_ == nullptr) return;
  std::fclose(std::exchange(file_, nullptr));
  ::unlink(temporary_.c_str());
}

Error NpyWriter::error(std::string_view what) const {
  const std::string why = reason();
  return Error{ErrorCode::io, fmt::format("{}: {}: {}", path_.string(), what, why)};
}

Result<NpyWriter> NpyWriter::create(const fs::path& path) {
  std::error_code status;
  if (fs::exists(path, status) && !fs::is_regular_file(path, status))
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{}: not a regular file; expected the path of a file to write", path.string())};
  fs::path temporary = path;
  temporary += fmt::format(".tmp{}", ::getpid());
  std::FILE* file = std::fopen(temporary.c_str(), "wb");
  if (file == nullptr) {
    const std::string why = reason();
    return Error{ErrorCode::io, fmt::format("{}: cannot create: {}", path.string(), why)};
  }
  NpyWriter writer(path, std::move(temporary), file);
  const std::string header = npy_header(0, 0);
  if (std::fwrite(header.data(), 1, header.size(), file) != header.size()) return writer.error("cannot write");
  return writer;
}

Status NpyWriter::append(std::span<const float> values) {
  UNICORN_CHECK(file_ != nullptr);
  if (std::fwrite(values.data(), sizeof(float), values.size(), file_) != values.size()) return error("cannot write");
  n_values_ += values.size();
  return Ok{};
}

Status NpyWriter::finish(std::size_t width) {
  UNICORN_CHECK(file_ != nullptr && width > 0 && n_values_ % width == 0);
  const std::string header = npy_header(n_values_ / width, width);
  if (std::fseek(file_, 0, SEEK_SET) != 0 || std::fwrite(header.data(), 1, header.size(), file_) != header.size())
    return error("cannot write");
  if (std::fclose(std::exchange(file_, nullptr)) != 0) {  // the last of the buffer may not fit on the disk
    Error failed = error("cannot write");
    ::unlink(temporary_.c_str());
    return failed;
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    Error failed = error("cannot rename into place");
    ::unlink(temporary_.c_str());
    return failed;
  }
  return Ok{};
}

namespace {

// The value after 'key': in the header's Python dictionary, up to the comma (outside parentheses) or brace.
std::string_view header_value(std::string_view header, std::string_view key) {
  const std::string quoted = fmt::format("'{}':", key);
  const std::size_t at = header.find(quoted);
  if (at == std::string_view::npos) return {};
  std::string_view rest = header.substr(at + quoted.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  if (rest.starts_with('(')) return rest.substr(0, std::min(rest.find(')'), rest.size() - 1) + 1);
  return rest.substr(0, rest.find_first_of(",}"));
}

// "(3, 256)" or "(256,)".
std::vector<std::size_t> parse_shape(std::string_view text) {
  std::vector<std::size_t> dims;
  const char* at = text.data();
  const char* end = text.data() + text.size();
  while (at != end) {
    std::size_t dim = 0;
    if (*at < '0' || *at > '9') {
      ++at;
      continue;
    }
    const auto [next, failed] = std::from_chars(at, end, dim);
    if (failed != std::errc{}) return {};
    dims.push_back(dim);
    at = next;
  }
  return dims;
}

}  // namespace

Result<NpyMatrix> read_npy(const fs::path& path) {
  NpyMatrix matrix;
  UNICORN_ASSIGN(matrix.file, MappedFile::open(path));
  const std::span<const std::byte> bytes = matrix.file.bytes();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto corrupt = [&](std::string_view what) {
    return Error{ErrorCode::corrupt_file, fmt::format("{}: {}", path.string(), what)};
  };
  if (text.size() < 12 || text.substr(0, 6) != kMagic.substr(0, 6)) return corrupt("not a .npy file");
  const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(bytes[i]); };
  const std::size_t version = byte(6);
  const std::size_t length_bytes = version == 1 ? 2 : 4;
  std::size_t header_bytes = byte(8) | byte(9) << 8;
  if (length_bytes == 4) header_bytes |= byte(10) << 16 | byte(11) << 24;
  const std::size_t begin = 8 + length_bytes + header_bytes;
  if (begin > text.size()) return corrupt("the header is longer than the file");
  const std::string_view header = text.substr(8 + length_bytes, header_bytes);

  const std::string_view descr = header_value(header, "descr");
  const std::string_view order = header_value(header, "fortran_order");
  const std::vector<std::size_t> shape = parse_shape(header_value(header, "shape"));
  if (descr != "'<f4'" || order != "False" || shape.empty() || shape.size() > 2)
    return Error{ErrorCode::unsupported,
                 fmt::format("{}: expected float32 '<f4' in C order with 1 or 2 dimensions, found {} with {}",
                             path.string(), descr, header_value(header, "shape"))};
  matrix.n_rows = shape.size() == 2 ? shape[0] : 1;
  matrix.width = shape.back();
  const std::size_t n_file = (text.size() - begin) / sizeof(float);
  const bool fits = matrix.width == 0 || matrix.n_rows <= n_file / matrix.width;
  if (!fits || matrix.n_rows * matrix.width * sizeof(float) != text.size() - begin)
    return corrupt(fmt::format("[{}, {}] floats expected, {} bytes of data found", matrix.n_rows, matrix.width,
                               text.size() - begin));
  if (begin % alignof(float) != 0) return corrupt("data does not begin at a multiple of 4 bytes");
  matrix.values = {reinterpret_cast<const float*>(bytes.data() + begin), matrix.n_rows * matrix.width};
  return matrix;
}

}  // namespace unicorn
