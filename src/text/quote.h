// quote: a piece of unknown text as it may stand in an error message.
#pragma once

#include <string>
#include <string_view>

namespace unicorn {

// 'text', with control characters escaped and at most 40 bytes of it. Invalid UTF-8 is escaped too.
std::string quote(std::string_view text);

}  // namespace unicorn
