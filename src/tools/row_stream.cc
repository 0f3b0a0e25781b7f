#include "tools/row_stream.h"

#include <algorithm>

namespace unicorn {

RowStream::RowStream(std::size_t n_threads, std::uint64_t total_bytes, std::function<bool(double)> progress)
    : pool_(n_threads == 0 ? n_usable_cores() : n_threads), total_bytes_(total_bytes), progress_(std::move(progress)) {}

Status RowStream::rows(std::size_t first, std::size_t n, std::size_t bytes_per_row, const ReadRow& read,
                       const Sink& sink) {
  constexpr std::size_t kChunkBytes = std::size_t{4} << 20;  // stays in cache between the threads and the write
  const std::size_t n_chunk = std::clamp<std::size_t>(kChunkBytes / bytes_per_row, 1, n);
  buffer_.resize(std::max(buffer_.size(), n_chunk * bytes_per_row));
  for (std::size_t at = 0; at < n; at += n_chunk) {
    const std::size_t count = std::min(n_chunk, n - at);
    pool_.run([&](std::size_t member) {
      const Slice slice = slice_of(count, 1, member, pool_.size());
      for (std::size_t i = slice.begin; i < slice.end; ++i) read(first + at + i, buffer_.data() + i * bytes_per_row);
    });
    UNICORN_TRY(sink(std::span(buffer_).first(count * bytes_per_row)));
    done_bytes_ += count * bytes_per_row;
    if (progress_ && !progress_(static_cast<double>(done_bytes_) / static_cast<double>(total_bytes_)))
      return Error{ErrorCode::cancelled, "cancelled"};
  }
  return Ok{};
}

}  // namespace unicorn
