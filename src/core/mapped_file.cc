#include "core/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace unicorn {
namespace {

Error errno_error(const std::filesystem::path& path, const char* what) {
  const ErrorCode code = errno == ENOENT ? ErrorCode::not_found : ErrorCode::io;
  return Error{code, path.string() + ": " + what + ": " + std::strerror(errno)};
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  // Non-blocking: a pipe is refused below, not waited for. Regular files take no notice.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno_error(path, "cannot open");
  struct stat info{};
  if (::fstat(fd, &info) != 0) {
    Error error = errno_error(path, "cannot stat");
    ::close(fd);
    return error;
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    return Error{ErrorCode::io, path.string() + ": not a regular file"};
  }
  MappedFile file;
  file.path_ = path.string();
  file.size_ = static_cast<std::size_t>(info.st_size);
  if (file.size_ > 0) {
    void* data = ::mmap(nullptr, file.size_, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
      Error error = errno_error(path, "cannot map");
      ::close(fd);
      return error;
    }
    file.data_ = static_cast<const std::byte*>(data);
  }
  ::close(fd);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void advise(std::span<const std::byte> range, Advice advice) {
  if (range.empty()) return;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  auto begin = reinterpret_cast<std::uintptr_t>(range.data());
  auto end = begin + range.size();
  if (advice == Advice::drop) {
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
  } else {
    begin = begin / page * page;
  }
  if (begin >= end) return;
  int flag = MADV_NORMAL;
  switch (advice) {
    case Advice::sequential:
      flag = MADV_SEQUENTIAL;
      break;
    case Advice::random_access:
      flag = MADV_RANDOM;
      break;
    case Advice::will_need:
      flag = MADV_WILLNEED;
      break;
    case Advice::drop:
      flag = MADV_DONTNEED;
      break;
  }
  static_cast<void>(::madvise(reinterpret_cast<void*>(begin), end - begin, flag));
}

bool is_file_mapping(std::span<const std::byte> range) {
  std::ifstream maps("/proc/self/maps");
  std::string line;
  auto at = reinterpret_cast<std::uintptr_t>(range.data());
  const std::uintptr_t end = at + range.size();
  while (std::getline(maps, line)) {  // ascending; advice may have split one mapping into several
    unsigned long low = 0, high = 0, inode = 0;
    char access[5] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s %*s %*s %lu", &low, &high, access, &inode) != 4) continue;
    if (at < low || at >= high) continue;
    if (inode == 0 || access[0] != 'r' || access[1] != '-') return false;
    if (end <= high) return true;
    at = high;
  }
  return false;
}

Status write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::filesystem::path temporary;
  int fd = -1;
  // A name of its own, also beside other threads that write the same path and a killed process's leftovers.
  for (int attempt = 0; attempt < 1000 && fd < 0; ++attempt) {
    temporary = path;
    temporary += ".tmp" + std::to_string(::getpid()) + "." + std::to_string(attempt);
    fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 && errno != EEXIST) break;
  }
  if (fd < 0) return errno_error(temporary, "cannot create");
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      Error error = errno_error(temporary, "cannot write");
      ::close(fd);
      ::unlink(temporary.c_str());
      return error;
    }
    done += static_cast<std::size_t>(n);
  }
  if (::close(fd) != 0 || ::rename(temporary.c_str(), path.c_str()) != 0) {
    Error error = errno_error(path, "cannot rename into place");
    ::unlink(temporary.c_str());
    return error;
  }
  return Ok{};
}

}  // namespace unicorn
