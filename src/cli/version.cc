#include "cli/version.h"

#include <unicorn_commit.h>  // made by commit.cmake in the build folder

namespace unicorn {

std::string_view version() { return UNICORN_VERSION; }
std::string_view commit() { return UNICORN_COMMIT; }

}  // namespace unicorn
