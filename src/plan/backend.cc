#include "plan/backend.h"

namespace unicorn {

std::size_t kv_block_bytes(const KvLayer& layer, const Limits& limits) {
  return 2 * std::size_t{layer.n_kv_heads} * limits.kv_block_tokens * row_bytes(limits.kv_dtype, layer.head_dim);
}

}  // namespace unicorn
