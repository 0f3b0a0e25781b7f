// A processor that says it has AVX-512 VNNI, so that dispatch offers the emulated tables. It hides AVX2, whose tables
// other tests compare; the emulated ones are compiled for it, though.
#include "core/cpu_features.h"

namespace unicorn {

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = [] {
    CpuFeatures f;
    f.brand = "SIMDe";
    f.avx512 = f.avx512_vnni = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 &&
                               __builtin_cpu_supports("f16c") != 0;
    return f;
  }();
  return features;
}

}  // namespace unicorn
