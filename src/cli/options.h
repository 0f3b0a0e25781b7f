// Declaring options: each add_… names a flag whose text goes through a parser of arguments.h. A bad value ends the
// parse with a message that names the flag.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.h"
#include "core/result.h"

namespace unicorn {

// `parse` gets the flag's text and stores it. The flag takes one value; `repeat`: it may come several times.
CLI::Option* add_parsed(CLI::App& app, const std::string& flags, const std::string& value_name, const std::string& help,
                        std::function<Status(const std::string&)> parse, bool repeat = false);

template <class T>
CLI::Option* add_count(CLI::App& app, const std::string& flags, T& target, const std::string& help, std::uint64_t min,
                       std::uint64_t max) {
  return add_parsed(app, flags, "N", help, [&target, min, max](const std::string& text) -> Status {
    UNICORN_ASSIGN(const std::uint64_t value, parse_count(text, min, max));
    target = static_cast<T>(value);
    return Ok{};
  });
}

CLI::Option* add_number(CLI::App& app, const std::string& flags, float& target, const std::string& help, double min,
                        double max);
CLI::Option* add_text(CLI::App& app, const std::string& flags, const std::string& value_name, std::string& target,
                      const std::string& help);
CLI::Option* add_text(CLI::App& app, const std::string& flags, const std::string& value_name,
                      std::optional<std::string>& target, const std::string& help);
// One word of a list.
CLI::Option* add_choice(CLI::App& app, const std::string& flags, const std::string& help,
                        std::vector<std::string> choices, std::function<void(const std::string&)> store);

}  // namespace unicorn
