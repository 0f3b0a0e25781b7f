// The reference backend: plain loops, the answer every other backend is held to. Weights are decoded to f32 when
// prepared (4 bytes each); dot products are summed in double and rounded once.
#pragma once

#include <memory>

#include "plan/backend.h"

namespace unicorn {

std::unique_ptr<Backend> create_reference_backend();

}  // namespace unicorn
