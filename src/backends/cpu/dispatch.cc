#include "backends/cpu/dispatch.h"

#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <string>

#include "backends/cpu/isa/tables.h"
#include "core/check.h"
#include "core/cpu_features.h"

namespace unicorn::cpu {
namespace {

constexpr const KernelTable* kTables[] = {
    &kScalarKernels,
#if defined(__x86_64__)
    &kAvx2Kernels,   &kAvxVnniKernels, &kAvx512Kernels, &kAvx512VnniKernels,
#endif
};

bool runnable(const KernelTable& table) {
  const CpuFeatures& cpu = cpu_features();
  switch (table.isa) {
    case Isa::scalar:
      return true;
    case Isa::avx2:
      return cpu.avx2;
    case Isa::avx_vnni:
      return cpu.avx_vnni;
    case Isa::avx512:
      return cpu.avx512;
    case Isa::avx512_vnni:
      return cpu.avx512_vnni;
  }
  return false;
}

}  // namespace

std::span<const KernelTable* const> all_kernel_tables() { return kTables; }

std::vector<const KernelTable*> runnable_kernel_tables() {
  std::vector<const KernelTable*> tables;
  for (const KernelTable* table : kTables)
    if (runnable(*table)) tables.push_back(table);
  return tables;
}

Result<const KernelTable*> select_kernels(std::string_view forced) {
  const auto tables = runnable_kernel_tables();
  if (forced.empty())
    if (const char* name = std::getenv("UNICORN_ISA")) forced = name;
  if (forced.empty()) return tables.back();
  std::string names;
  for (const KernelTable* table : tables) {
    if (forced == table->name) return table;
    names += names.empty() ? "" : ", ";
    names += table->name;
  }
  bool known = false;
  for (const KernelTable* table : kTables) known |= forced == table->name;
  return Error{ErrorCode::invalid_argument, fmt::format("instruction set '{}' is {}; this processor runs: {}", forced,
                                                        known ? "not available here" : "unknown", names)};
}

void matmul(const KernelTable& kernels, const PackedMatrix& w, const ActivationView& x, float* y, std::size_t ldy,
            std::size_t n_begin, std::size_t n_end) {
  UNICORN_DCHECK(x.k == w.k());
  const auto dtype = static_cast<std::size_t>(w.dtype());
  const MatmulFn* functions = w.layout() == Layout::panels    ? kernels.matmul
                              : w.layout() == Layout::columns ? kernels.matmul_columns
                                                              : kernels.matmul_dense_rows;
  functions[dtype](w.view(), x, y, ldy, n_begin, n_end);
}

}  // namespace unicorn::cpu
