#include "backends/cpu/kernels/element_kernels.h"

namespace unicorn::cpu {

const ElementKernels& element_kernels(Isa isa) {
  switch (isa) {
    case Isa::scalar:
      return kElementScalar;
#if defined(__x86_64__)
    case Isa::avx2:
    case Isa::avx_vnni:
      return kElementAvx2;
    case Isa::avx512:
    case Isa::avx512_vnni:
      return kElementAvx512;
#else
    default:
      break;
#endif
  }
  return kElementScalar;
}

}  // namespace unicorn::cpu
