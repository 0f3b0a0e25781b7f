#include "backends/cpu/isa/floats_scalar.h"
// after the registers it is written in
#include "backends/cpu/kernels/element_table.inl"

namespace unicorn::cpu {

const ElementKernels kElementScalar = scalar::element_table("scalar");

}  // namespace unicorn::cpu
