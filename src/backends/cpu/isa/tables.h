// The kernel tables, one per file of this folder. dispatch.cc decides which may run.
#pragma once

#include "backends/cpu/kernel_table.h"

namespace unicorn::cpu {

extern const KernelTable kScalarKernels;
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvxVnniKernels;
extern const KernelTable kAvx512Kernels;
extern const KernelTable kAvx512VnniKernels;

}  // namespace unicorn::cpu
