// AVX2 with the 256-bit vpdpbusd of AVX-VNNI.
#include "backends/cpu/isa/tables.h"
#include "backends/cpu/isa/vector_avx2.h"
#include "backends/cpu/kernels/matmul_table.inl"

namespace unicorn::cpu {

const KernelTable kAvxVnniKernels = make_table("avx_vnni", Isa::avx_vnni);

}  // namespace unicorn::cpu
