// The compiled-in backends and what they say of this machine.
#pragma once

#include <string>
#include <vector>

#include "plan/backend.h"

namespace unicorn {

struct DeviceReport {
  std::string name;       // as --device takes it
  bool available = false;
  DeviceInfo info;        // when available
  std::string reason;     // when not
};

std::vector<DeviceReport> list_devices(std::size_t n_threads = 0);  // best first

}  // namespace unicorn
