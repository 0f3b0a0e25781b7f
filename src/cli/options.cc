#include "cli/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace unicorn {

CLI::Option* add_parsed(CLI::App& app, const std::string& flags, const std::string& value_name, const std::string& help,
                        std::function<Status(const std::string&)> parse, bool repeat) {
  const std::string name = flags.substr(flags.rfind(',') + 1);  // "-n,--max-tokens": the long one
  const CLI::callback_t store = [parse = std::move(parse), name](const CLI::results_t& values) {
    for (const std::string& value : values)
      if (const Status status = parse(value); !status.ok()) throw CLI::ValidationError(name, status.error().message);
    return true;
  };
  CLI::Option* option = app.add_option(flags, store, help);
  option->type_name(value_name)->type_size(1)->expected(1)->allow_extra_args(false);
  if (repeat)
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->expected(1, CLI::detail::expected_max_vector_size)
        ->allow_extra_args(false);
  return option;
}

CLI::Option* add_number(CLI::App& app, const std::string& flags, float& target, const std::string& help, double min,
                        double max) {
  return add_parsed(app, flags, "X", help, [&target, min, max](const std::string& text) -> Status {
    UNICORN_ASSIGN(const double value, parse_number(text, min, max));
    target = static_cast<float>(value);
    return Ok{};
  });
}

CLI::Option* add_text(CLI::App& app, const std::string& flags, const std::string& value_name, std::string& target,
                      const std::string& help) {
  return add_parsed(app, flags, value_name, help, [&target](const std::string& text) -> Status {
    target = text;
    return Ok{};
  });
}

CLI::Option* add_text(CLI::App& app, const std::string& flags, const std::string& value_name,
                      std::optional<std::string>& target, const std::string& help) {
  return add_parsed(app, flags, value_name, help, [&target](const std::string& text) -> Status {
    target = text;
    return Ok{};
  });
}

CLI::Option* add_choice(CLI::App& app, const std::string& flags, const std::string& help,
                        std::vector<std::string> choices, std::function<void(const std::string&)> store) {
  return add_parsed(app, flags, "WORD", help,
                    [choices = std::move(choices), store = std::move(store)](const std::string& text) -> Status {
                      if (std::find(choices.begin(), choices.end(), text) == choices.end()) {
                        const std::string near = nearest(text, choices);
                        return Error{ErrorCode::invalid_argument,
                                     fmt::format("'{}' is not one of {}{}", text, fmt::join(choices, ", "),
                                                 near.empty() ? "" : fmt::format("; did you mean {}?", near))};
                      }
                      store(text);
                      return Ok{};
                    });
}

}  // namespace unicorn
