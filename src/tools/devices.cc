#include "tools/devices.h"

#include "backends/registry.h"

namespace unicorn {

std::vector<DeviceReport> list_devices(std::size_t n_threads) {
  std::vector<DeviceReport> devices;
  for (const std::string_view name : backend_names()) {
    DeviceReport report;
    report.name = name;
    const auto backend = create_backend(name, {.n_threads = n_threads});
    report.available = backend.ok();
    if (backend.ok())
      report.info = (*backend)->info();
    else
      report.reason = backend.error().message;
    devices.push_back(std::move(report));
  }
  return devices;
}

}  // namespace unicorn
