// unicorn compare: the first tensor in which two dumps differ.
#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "tools/dump.h"

namespace unicorn {

namespace {

struct CompareOptions {
  std::string a, b;
  float rtol = 1e-3f, atol = 1e-4f;
  bool json = false, all = false;
};

Json to_json(const DumpDrift& drift) {
  Json json{{"tensor", drift.file.substr(0, drift.file.rfind('.'))},
            {"shape_a", {drift.rows_a, drift.width_a}},
            {"shape_b", {drift.rows_b, drift.width_b}}};
  if (!drift.same_shape) return json;
  const auto number = [](double value) { return std::isfinite(value) ? Json(value) : Json(fmt::format("{}", value)); };
  json["max_abs_error"] = number(drift.max_abs_error);
  json["at"] = {drift.row, drift.column};
  json["a"] = number(drift.a);
  json["b"] = number(drift.b);
  json["first_at"] = {drift.first_row, drift.first_column};
  json["n_beyond"] = drift.n_beyond;
  return json;
}

std::string describe(const DumpDrift& drift) {
  const std::string name = drift.file.substr(0, drift.file.rfind('.'));
  if (!drift.same_shape)
    return fmt::format("{}: [{}, {}] in A, [{}, {}] in B", name, drift.rows_a, drift.width_a, drift.rows_b,
                       drift.width_b);
  return fmt::format(
      "{}: max abs error {:.4g} at [{}, {}] ({:.8g} in A, {:.8g} in B); {} of {} values beyond the tolerance, first at "
      "[{}, {}]",
      name, drift.max_abs_error, drift.row, drift.column, drift.a, drift.b, drift.n_beyond,
      drift.rows_a * drift.width_a, drift.first_row, drift.first_column);
}

void print_result(const DumpComparison& result, const CompareOptions& options) {
  if (result.drifts.empty())
    print("no drift: {} tensors compared, {} bit for bit equal, max abs error {:.4g}\n", result.n_compared,
          result.n_identical, result.max_abs_error);
  else
    print("first to drift: {}\n", describe(result.drifts.front()));
  if (result.drifts.size() > 1 && !options.all)
    print("{} of {} tensors drift (--all lists them)\n", result.drifts.size(), result.n_compared);
  for (std::size_t i = 1; options.all && i < result.drifts.size(); ++i) print("then {}\n", describe(result.drifts[i]));
  if (!result.only_in_a.empty())
    note("only in A: {} tensors, the first is {}", result.only_in_a.size(), result.only_in_a.front());
  if (!result.only_in_b.empty())
    note("only in B: {} tensors, the first is {}", result.only_in_b.size(), result.only_in_b.front());
}

int run(const CompareOptions& options) {
  const Result<DumpComparison> result =
      compare_dumps(options.a, options.b, {.rtol = options.rtol, .atol = options.atol});
  if (!result.ok()) return fail(result.error());
  if (options.json) {
    Json drifts = Json::array();
    for (const DumpDrift& drift : result->drifts) drifts.push_back(to_json(drift));
    write_json(Json{{"compared", result->n_compared},
                    {"identical", result->n_identical},
                    {"max_abs_error", std::isfinite(result->max_abs_error) ? Json(result->max_abs_error) : Json("inf")},
                    {"first", drifts.empty() ? Json(nullptr) : drifts.front()},
                    {"drifts", drifts},
                    {"only_in_a", result->only_in_a},
                    {"only_in_b", result->only_in_b}});
  } else {
    print_result(*result, options);
  }
  return result->drifts.empty() ? kExitOk : kExitError;
}

}  // namespace

Action add_compare(CLI::App& app) {
  auto options = std::make_shared<CompareOptions>();
  app.add_option("DIR_A", options->a, "A folder written by --dump-dir")->required()->type_name("");
  app.add_option("DIR_B", options->b, "Another one")->required()->type_name("");
  add_number(app, "--rtol", options->rtol, "Relative tolerance (default: 1e-3)", 0, 1e30);
  add_number(app, "--atol", options->atol, "Absolute tolerance (default: 1e-4)", 0, 1e30);
  app.add_flag("--all", options->all, "List every tensor that drifts, not only the first");
  app.add_flag("--json", options->json, "Print JSON, and nothing else, on stdout");
  app.footer(
      "Examples:\n"
      "  unicorn score model.gguf --ids 2,651,7217 --device reference --dump-dir a\n"
      "  unicorn score model.gguf --ids 2,651,7217 --device cpu --dump-dir b\n"
      "  unicorn compare b a\n\n"
      "Values agree when |a - b| <= atol + rtol * |b|. Exit status: 0 no drift; 1 drift, or a file cannot be read.");
  return [options] { return run(*options); };
}

}  // namespace unicorn
