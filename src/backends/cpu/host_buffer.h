// Host memory: aligned to 64 bytes, zero at first. Large blocks come straight from the system with huge pages asked
// for, and take no memory before they are touched.
#pragma once

#include <memory>

#include "plan/backend.h"

namespace unicorn::cpu {

class HostMemory {
 public:
  HostMemory() {}
  // Error: out_of_memory.
  static Result<HostMemory> allocate(std::size_t n_bytes);

  std::byte* data() const { return data_.get(); }
  float* floats() const { return reinterpret_cast<float*>(data_.get()); }
  std::size_t n_bytes() const { return data_.get_deleter().n_bytes; }

 private:
  struct Release {
    Release() : n_bytes(0) {}
    explicit Release(std::size_t n) : n_bytes(n) {}
    std::size_t n_bytes;
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte, Release> data_;
};

class HostBuffer final : public Buffer {
 public:
  explicit HostBuffer(HostMemory memory)
      : memory_(std::move(memory)), data_(memory_.data()), n_bytes_(memory_.n_bytes()) {}
  explicit HostBuffer(const External& memory) : data_(memory.host), n_bytes_(memory.n_bytes) {}
  std::size_t n_bytes() const override { return n_bytes_; }
  std::byte* host() const override { return data_; }

 private:
  HostMemory memory_;
  std::byte* data_;
  std::size_t n_bytes_;
};

}  // namespace unicorn::cpu
