// AVX2, FMA, F16C: byte products through vpmaddubsw and vpmaddwd.
#include "backends/cpu/isa/tables.h"
#include "backends/cpu/isa/vector_avx2.h"
#include "backends/cpu/kernels/matmul_table.inl"

namespace unicorn::cpu {

const KernelTable kAvx2Kernels = make_table("avx2", Isa::avx2);

}  // namespace unicorn::cpu
