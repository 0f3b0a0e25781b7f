// Plain C++, for any processor.
#include "backends/cpu/isa/tables.h"
#include "backends/cpu/isa/vector_scalar.h"
#include "backends/cpu/kernels/matmul_table.inl"

namespace unicorn::cpu {

const KernelTable kScalarKernels = make_table("scalar", Isa::scalar);

}  // namespace unicorn::cpu
