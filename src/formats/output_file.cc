#include "formats/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "formats/text.h"

namespace unicorn {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

Error io_error(const std::filesystem::path& path, std::string_view what) {
  const int code = errno;
  return file_error(ErrorCode::io, path.string(), "{}: {}", what, std::strerror(code));
}

}  // namespace

Result<OutputFile> OutputFile::create(const std::filesystem::path& path) {
  OutputFile file;
  file.path_ = path;
  // A name of its own, also beside leftovers of a killed process and other writers of the same path.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    file.temporary_ = path;
    file.temporary_ += fmt::format(".tmp{}.{}", ::getpid(), attempt);
    file.fd_ = ::open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file.fd_ >= 0 || errno != EEXIST) break;
  }
  if (file.fd_ < 0) return io_error(file.temporary_, "cannot create");
  file.buffer_.reserve(kBufferBytes);
  return file;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      fd_(std::exchange(other.fd_, -1)),
      size_(other.size_),
      buffer_(std::move(other.buffer_)) {}

OutputFile::~OutputFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

Status OutputFile::write(std::span<const std::byte> bytes) {
  size_ += bytes.size();
  if (buffer_.size() + bytes.size() > kBufferBytes) UNICORN_TRY(flush());
  if (bytes.size() > kBufferBytes) return write_through(bytes);
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  return Ok{};
}

Status OutputFile::flush() {
  UNICORN_TRY(write_through(buffer_));
  buffer_.clear();
  return Ok{};
}

Status OutputFile::write_through(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error(temporary_, "cannot write");
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return Ok{};
}

Status OutputFile::commit() {
  UNICORN_TRY(flush());
  if (::close(std::exchange(fd_, -1)) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    Error error = io_error(path_, "cannot rename into place");
    ::unlink(temporary_.c_str());
    return error;
  }
  return Ok{};
}

}  // namespace unicorn
