// AVX-512 F, BW, VL, DQ without VNNI.
#include "backends/cpu/isa/tables.h"
#include "backends/cpu/isa/vector_avx512.h"
#include "backends/cpu/kernels/matmul_table.inl"

namespace unicorn::cpu {

const KernelTable kAvx512Kernels = make_table("avx512", Isa::avx512);

}  // namespace unicorn::cpu
