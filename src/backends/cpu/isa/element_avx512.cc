#include "backends/cpu/isa/floats_avx512.h"
// after the registers it is written in
#include "backends/cpu/kernels/element_table.inl"

namespace unicorn::cpu {

const ElementKernels kElementAvx512 = avx512::element_table("avx512");

}  // namespace unicorn::cpu
