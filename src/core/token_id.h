// TokenId: a row of the vocabulary. -1 stands for "none" where a token may be absent.
#pragma once

#include <cstdint>

namespace unicorn {

using TokenId = std::int32_t;

}  // namespace unicorn
