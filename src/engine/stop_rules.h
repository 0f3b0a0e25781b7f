// StopStrings: finds a stop string in text that arrives in pieces, holding back what may become one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace unicorn {

class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops);  // empty strings are ignored

  // Text that is certainly not part of a stop string. Once a stop string was found nothing more comes.
  std::string push(std::string_view piece);
  std::string finish();  // what was held back, if no stop string was found
  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace unicorn
