// CpuFeatures: what this processor can run and the operating system lets it run (register state enabled by XCR0).
// Everything is false on other architectures.
#pragma once

#include <string>

namespace unicorn {

struct CpuFeatures {
  std::string brand;  // "AMD EPYC 9B14", as the processor names itself; empty when it does not

  bool avx2 = false;  // with FMA and F16C: every AVX2 processor worth a table has them
  bool avx_vnni = false;
  bool avx512 = false;  // F, BW, VL, DQ
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool avx512_vbmi = false;
  bool amx_int8 = false;  // the instructions exist; the kernel must still grant the tile state per process
};

// Asks the processor once; the same object ever after.
const CpuFeatures& cpu_features();

}  // namespace unicorn
