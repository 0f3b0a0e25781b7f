// unicorn devices: what this build can run on here.
#include "tools/devices.h"

#include <fmt/format.h>

#include <memory>

#include "cli/command.h"
#include "cli/terminal.h"
#include "core/cpu_features.h"
#include "core/thread_pool.h"

namespace unicorn {

namespace {

Json to_json(const std::vector<DeviceReport>& devices) {
  Json list = Json::array();
  for (const DeviceReport& device : devices) {
    Json json{{"name", device.name}, {"available", device.available}};
    if (device.available) {
      json["description"] = device.info.description;
      json["memory_bytes"] = device.info.memory_bytes;
      json["unified_memory"] = device.info.unified_memory;
    } else {
      json["reason"] = device.reason;
    }
    list.push_back(std::move(json));
  }
  const CpuFeatures& cpu = cpu_features();
  return Json{{"devices", std::move(list)},
              {"cpu",
               {{"brand", cpu.brand},
                {"cores", n_usable_cores()},
                {"avx2", cpu.avx2},
                {"avx_vnni", cpu.avx_vnni},
                {"avx512", cpu.avx512},
                {"avx512_vnni", cpu.avx512_vnni},
                {"avx512_bf16", cpu.avx512_bf16},
                {"amx_int8", cpu.amx_int8}}}};
}

int run(bool json) {
  const std::vector<DeviceReport> devices = list_devices();
  if (json) {
    write_json(to_json(devices));
    return kExitOk;
  }
  for (const DeviceReport& device : devices) {
    const std::string memory =
        device.info.memory_bytes > 0 ? fmt::format(", {} of memory", human_bytes(device.info.memory_bytes)) : "";
    print("{:<12} {}\n", device.name,
          device.available ? device.info.description + memory : "not here: " + device.reason);
  }
  return kExitOk;
}

}  // namespace

Action add_devices(CLI::App& app) {
  auto json = std::make_shared<bool>(false);
  app.add_flag("--json", *json, "Print JSON, and nothing else, on stdout");
  app.footer("The first one that is here is what --device auto takes.");
  return [json] { return run(*json); };
}

}  // namespace unicorn
