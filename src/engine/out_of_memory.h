// The engine's rule for memory that runs out (engine.h): an Error, wherever the allocation was.
#pragma once

#include <new>
#include <type_traits>

#include "core/result.h"

namespace unicorn {

// f(), which returns a Result or Status; its std::bad_alloc becomes ErrorCode::out_of_memory.
template <class F>
std::invoke_result_t<F> or_out_of_memory(F&& f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory, "memory ran out"};  // short enough to need no allocation itself
  }
}

}  // namespace unicorn
