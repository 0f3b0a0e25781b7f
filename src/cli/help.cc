#include "cli/help.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <string_view>

namespace unicorn {

namespace {

constexpr std::size_t kColumn = 30;  // where descriptions begin
constexpr std::size_t kWidth = 100;

// `text` broken at spaces; lines after the first begin at `indent`.
std::string wrapped(std::string_view text, std::size_t indent) {
  std::string out;
  std::size_t column = indent;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (column > indent && column + 1 + word.size() > kWidth) {
      out += '\n' + std::string(indent, ' ');
      column = indent;
    }
    if (column > indent) out += ' ', ++column;
    out += word;
    column += word.size();
  }
  return out;
}

std::string entry(const std::string& name, const std::string& description) {
  std::string out = "  " + name;
  out += out.size() + 2 <= kColumn ? std::string(kColumn - out.size(), ' ') : '\n' + std::string(kColumn, ' ');
  return out + wrapped(description, kColumn) + '\n';
}

std::string option_name(const CLI::Option& option) {
  std::string name;
  for (const std::string& letter : option.get_snames()) name += (name.empty() ? "-" : ", -") + letter;
  for (const std::string& word : option.get_lnames()) name += (name.empty() ? "--" : ", --") + word;
  if (option.get_type_size() != 0 && !option.get_type_name().empty()) name += ' ' + option.get_type_name();
  return name;
}

class HelpFormatter final : public CLI::FormatterBase {
 public:
  std::string make_help(const CLI::App* app, std::string, CLI::AppFormatMode) const override {
    const auto positional = app->get_options([](const CLI::Option* o) { return o->get_positional(); });
    std::string out =
        fmt::format("unicorn {}: {}\n\nUsage: unicorn {}", app->get_name(), app->get_description(), app->get_name());
    for (const CLI::Option* option : positional)
      out +=
          (option->get_required() ? " " : " [") + option->get_name(true, false) + (option->get_required() ? "" : "]");
    out += " [OPTIONS]\n";
    if (!positional.empty()) out += '\n';
    for (const CLI::Option* option : positional) out += entry(option->get_name(true, false), option->get_description());
    for (const std::string& group : app->get_groups()) {
      const auto options =
          app->get_options([&](const CLI::Option* o) { return o->get_group() == group && !o->get_positional(); });
      if (options.empty() || group.empty()) continue;
      out += fmt::format("\n{}:\n", group);
      for (const CLI::Option* option : options) out += entry(option_name(*option), option->get_description());
    }
    if (const std::string footer = app->get_footer(); !footer.empty()) out += '\n' + footer + '\n';
    return out;
  }
};

}  // namespace

void set_help_style(CLI::App& app) {
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_help_flag("-h,--help", "Print this");
}

}  // namespace unicorn
