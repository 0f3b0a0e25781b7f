#pragma once

#include <string_view>

namespace unicorn {

std::string_view version();  // "0.1.0"
std::string_view commit();   // what was built: "3f2a91c", "3f2a91c-dirty", or "unknown" outside a repository

}  // namespace unicorn
