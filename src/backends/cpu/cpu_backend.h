// The CPU backend: int8 and float kernels for the instruction set at hand, a pool of threads, weights packed once.
#pragma once

#include <memory>
#include <string>

#include "plan/backend.h"

namespace unicorn {

struct CpuOptions {
  std::size_t n_threads = 0;  // 0: one per usable core
  std::string isa;            // "avx2" …; empty: UNICORN_ISA from the environment, else the best that runs here
};

// Errors: invalid_argument, for an instruction set that is unknown or does not run here.
Result<std::unique_ptr<Backend>> create_cpu_backend(const CpuOptions& options = {});

}  // namespace unicorn
