// AVX-512 with vpdpbusd.
#include "backends/cpu/isa/tables.h"
#include "backends/cpu/isa/vector_avx512.h"
#include "backends/cpu/kernels/matmul_table.inl"

namespace unicorn::cpu {

const KernelTable kAvx512VnniKernels = make_table("avx512_vnni", Isa::avx512_vnni);

}  // namespace unicorn::cpu
