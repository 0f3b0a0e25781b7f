// Files for this folder's tests: built byte by byte, so that each can be wrong in exactly one way.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace unicorn::formats_test {

// Little-endian bytes, appended.
class Bytes {
 public:
  template <class T>
  Bytes& put(T value) {
    const auto* p = reinterpret_cast<const char*>(&value);
    bytes_.append(p, sizeof value);
    return *this;
  }
  Bytes& raw(std::string_view text) {
    bytes_.append(text);
    return *this;
  }
  Bytes& text(std::string_view text) {  // as GGUF writes strings
    return put(std::uint64_t{text.size()}).raw(text);
  }
  Bytes& pad(std::size_t alignment) {
    while (bytes_.size() % alignment != 0) bytes_.push_back('\0');
    return *this;
  }
  Bytes& zeros(std::size_t n) {
    bytes_.append(n, '\0');
    return *this;
  }
  const std::string& str() const { return bytes_; }

 private:
  std::string bytes_;
};

// A GGUF file's pieces.
inline Bytes gguf_header(std::uint64_t n_tensors, std::uint64_t n_keys, std::uint32_t version = 3) {
  return Bytes().raw("GGUF").put(version).put(n_tensors).put(n_keys);
}
inline std::string key_u32(std::string_view key, std::uint32_t value) {
  return Bytes().text(key).put(std::uint32_t{4}).put(value).str();
}
inline std::string key_text(std::string_view key, std::string_view value) {
  return Bytes().text(key).put(std::uint32_t{8}).text(value).str();
}
inline std::string tensor_info(std::string_view name, std::initializer_list<std::uint64_t> dims_innermost_first,
                               std::uint32_t type, std::uint64_t offset) {
  Bytes out;
  out.text(name).put(static_cast<std::uint32_t>(dims_innermost_first.size()));
  for (const std::uint64_t d : dims_innermost_first) out.put(d);
  return out.put(type).put(offset).str();
}

inline std::string safetensors(std::string_view header, std::size_t data_bytes) {
  return Bytes().put(std::uint64_t{header.size()}).raw(header).zeros(data_bytes).str();
}

// A heap copy of exactly this size, so that AddressSanitizer sees the first byte read past its end.
class Exact {
 public:
  explicit Exact(std::string_view text)
      : size_(text.size()), data_(new std::byte[text.size() + (text.empty() ? 1 : 0)]) {
    std::memcpy(data_.get(), text.data(), text.size());
  }
  std::span<const std::byte> bytes() const { return {data_.get(), size_}; }

 private:
  std::size_t size_;
  std::unique_ptr<std::byte[]> data_;
};

// A folder for one test, removed with it.
class FolderTest : public ::testing::Test {
 protected:
  FolderTest() {
    const ::testing::TestInfo* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(::testing::TempDir()) /
              ("formats_" + std::to_string(::getpid()) + "_" + info->test_suite_name() + "_" + info->name());
    std::filesystem::create_directories(folder_);
  }
  ~FolderTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }
  std::vector<std::string> listing() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_))
      names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }

  std::filesystem::path folder_;
};

// What a test expects of a refused file: its code and every one of these words in the message.
struct Refusal {
  ErrorCode code;
  std::vector<std::string> words;
};

template <class T>
void expect_refusal(const Result<T>& result, const Refusal& want) {
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(error_code_name(result.error().code), error_code_name(want.code)) << result.error().message;
  for (const std::string& word : want.words)
    EXPECT_NE(result.error().message.find(word), std::string::npos)
        << "no \"" << word << "\" in: " << result.error().message;
}

}  // namespace unicorn::formats_test
