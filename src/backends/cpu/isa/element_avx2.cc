#include "backends/cpu/isa/floats_avx2.h"
// after the registers it is written in
#include "backends/cpu/kernels/element_table.inl"

namespace unicorn::cpu {

const ElementKernels kElementAvx2 = avx2::element_table("avx2");

}  // namespace unicorn::cpu
