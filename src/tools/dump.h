// Dumps of what every step of a plan wrote, and the comparer that names the first tensor to drift.
// A dump is a folder of .npy files, one per step and written tensor, float32 [rows, width]; the rows of later passes
// follow those of earlier ones, so that a prompt in one chunk and in ten leaves the same files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plan/backend.h"

namespace unicorn {

// Which steps' tensors are wanted; an empty list wants all.
struct DumpFilter {
  std::vector<std::string> ops;      // "attention"
  std::vector<std::string> tensors;  // "ffn_norm.3", or "ffn_norm" for that of every layer
  struct Layers {
    std::int32_t first, last;  // inclusive; -1: what comes before the first layer
  };
  std::vector<Layers> layers;
  bool after_layers = false;  // layer=out: what comes after the last
};

// "layer=3,op=attention,tensor=ffn_norm"; layer=2-5, layer=in, layer=out; a key may come again, "all" or nothing is
// everything. Error: invalid_argument.
Result<DumpFilter> parse_dump_filter(std::string_view text);

class TensorDump final : public StepObserver {
 public:
  // `plan` must outlive the dump. The folder is made; one that holds .npy files already is refused, so that no dump
  // mixes with an older one. Errors: invalid_argument (also when no step matches, naming the operations there are), io.
  static Result<std::unique_ptr<TensorDump>> create(const Plan& plan, const std::filesystem::path& folder,
                                                    DumpFilter filter);

  void on_step(std::uint32_t step, TensorId tensor, std::span<const float> values, std::size_t n_rows) override;

  const Status& status() const { return status_; }  // the first write that failed; nothing was written after it
  std::size_t n_files() const { return n_files_; }

 private:
  struct Output {  // one written tensor of one step
    TensorRef tensor;
    std::string file;  // empty: not wanted
    std::size_t n_rows = 0;
  };
  TensorDump(std::filesystem::path folder, std::vector<std::vector<Output>> outputs);
  Status write(Output& output, std::span<const float> values, std::size_t n_rows);

  std::filesystem::path folder_;
  std::vector<std::vector<Output>> outputs_;  // by step, in the order a backend reports them
  std::uint32_t step_ = 0;
  std::size_t next_ = 0;  // of outputs_[step_]
  std::size_t n_files_ = 0;
  Status status_;
};

struct DumpTolerance {
  double rtol = 1e-3, atol = 1e-4;  // |a - b| <= atol + rtol · |b|
};

struct DumpDrift {
  std::string file;
  bool same_shape = true;  // else only the sizes below are meaningful
  std::size_t rows_a = 0, width_a = 0, rows_b = 0, width_b = 0;
  std::size_t n_beyond = 0;  // values beyond the tolerance
  std::size_t row = 0, column = 0;  // of the largest error
  float a = 0, b = 0;  // there
  double max_abs_error = 0;
  std::size_t first_row = 0, first_column = 0;  // the first value beyond the tolerance
};

struct DumpComparison {
  std::size_t n_compared = 0, n_identical = 0;  // identical: bit for bit
  double max_abs_error = 0;  // over all tensors of equal shape
  std::vector<DumpDrift> drifts;  // beyond the tolerance, in step order: the first is the answer
  std::vector<std::string> only_in_a, only_in_b;
};

// Errors: not_found (a folder, or no tensor in common), corrupt_file, unsupported.
Result<DumpComparison> compare_dumps(const std::filesystem::path& a, const std::filesystem::path& b,
                                     DumpTolerance tolerance);

}  // namespace unicorn
