// Which kernel table runs here. Chosen once when a backend is made; nothing below branches on the instruction set.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "backends/cpu/kernel_table.h"
#include "backends/cpu/packed_matrix.h"
#include "core/result.h"

namespace unicorn::cpu {

// Every table compiled in, worst first, and those this CPU and operating system can run.
std::span<const KernelTable* const> all_kernel_tables();
std::vector<const KernelTable*> runnable_kernel_tables();

// The best runnable table, or the one named (by the caller, else by UNICORN_ISA in the environment).
// Errors: invalid_argument for an unknown name or one this CPU cannot run; the message lists the valid names.
Result<const KernelTable*> select_kernels(std::string_view forced = {});

// The matmul entry for the matrix's layout and dtype. Preconditions: those of MatmulFn; x.k == w.k().
void matmul(const KernelTable& kernels, const PackedMatrix& w, const ActivationView& x, float* y, std::size_t ldy,
            std::size_t n_begin, std::size_t n_end);

// Does this weight read ActivationView::blocks (true) or ::x (false)?
inline bool reads_blocks(const PackedMatrix& w) { return is_quantised(w.dtype()); }

}  // namespace unicorn::cpu
