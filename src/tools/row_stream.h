// Rows of a tensor on their way into a file: made by all threads a few MB at a time, handed on in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/result.h"
#include "core/thread_pool.h"

namespace unicorn {

class RowStream {
 public:
  using ReadRow = std::function<void(std::size_t row, std::byte* out)>;  // several threads call it at once
  using Sink = std::function<Status(std::span<const std::byte>)>;

  // `total_bytes`: of everything this stream will be given, for `progress` (which may be empty).
  RowStream(std::size_t n_threads, std::uint64_t total_bytes, std::function<bool(double fraction)> progress);

  // Rows [first, first + n). Errors: cancelled (progress said so), and those of the sink.
  Status rows(std::size_t first, std::size_t n, std::size_t bytes_per_row, const ReadRow& read, const Sink& sink);

 private:
  ThreadPool pool_;
  std::uint64_t total_bytes_, done_bytes_ = 0;
  std::function<bool(double)> progress_;
  std::vector<std::byte> buffer_;
};

}  // namespace unicorn
