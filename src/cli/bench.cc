// unicorn bench: prefill and decode speed at several depths.
#include "tools/bench.h"

#include <fmt/format.h>

#include <memory>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "cli/version.h"
#include "core/cpu_features.h"

namespace unicorn {

namespace {

enum class Format : std::uint8_t { table, csv, json };

struct BenchCommand {
  ModelOptions model;
  BenchOptions bench;
  Format format = Format::table;
};

struct Report {
  const Engine& engine;
  std::vector<BenchRow> rows;
  double load_s, peak_rss_mb, read_bytes_per_s;
};

std::string kv_name(const Engine& engine) { return std::string(dtype_name(engine.options().kv)); }

Json to_json(const Report& report) {
  Json rows = Json::array();
  for (const BenchRow& row : report.rows)
    rows.push_back(Json{{"test", bench_test_name(row.test)},
                        {"n", row.n},
                        {"depth", row.depth},
                        {"median_tps", row.median_tps},
                        {"min", row.min_tps},
                        {"max", row.max_tps}});
  const Engine& engine = report.engine;
  return Json{{"rows", std::move(rows)},
              {"load_s", report.load_s},
              {"peak_rss_mb", report.peak_rss_mb},
              {"weight_mb", static_cast<double>(engine.load_stats().weight_bytes) / 1e6},
              {"read_gb_s", report.read_bytes_per_s / 1e9},
              {"model", engine.model().path},
              {"slice", engine.model().slice},
              {"weights", engine.model().weight_types},
              {"kv", kv_name(engine)},
              {"device", engine.device_description()},
              {"threads", engine.options().n_threads},
              {"n_ctx", engine.options().n_ctx},
              {"cpu", cpu_features().brand},
              {"version", version()},
              {"commit", commit()}};
}

// A field of RFC 4180: quoted when it holds a comma or a quote.
std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\n") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

void print_csv(const Report& report) {
  const Engine& engine = report.engine;
  print("test,n,depth,median_tps,min,max,load_s,peak_rss_mb,model,slice,weights,kv,device,threads,cpu,commit\n");
  for (const BenchRow& row : report.rows)
    print("{},{},{},{:.3f},{:.3f},{:.3f},{:.3f},{:.1f},{},{},{},{},{},{},{},{}\n", bench_test_name(row.test), row.n,
          row.depth, row.median_tps, row.min_tps, row.max_tps, report.load_s, report.peak_rss_mb,
          csv_field(engine.model().path), csv_field(engine.model().slice), csv_field(engine.model().weight_types),
          kv_name(engine), csv_field(engine.device_description()), engine.options().n_threads,
          csv_field(cpu_features().brand), commit());
}

void print_table(const Report& report) {
  const Engine& engine = report.engine;
  const ModelInfo& model = engine.model();
  print("{}  {}, {:.1f} M parameters, slice {}, {}\n", model.name, model.family,
        static_cast<double>(model.n_parameters) / 1e6, model.slice, model.weight_types);
  print("{}, {} threads, KV {}, commit {}\n", engine.device_description(), engine.options().n_threads, kv_name(engine),
        commit());
  print("loaded in {:.2f} s, weights {}, peak memory {:.0f} MB\n\n", report.load_s,
        human_bytes(engine.load_stats().weight_bytes), report.peak_rss_mb);
  print("{:<8} {:>6} {:>7} {:>11} {:>8}  {:>11} {:>11}\n", "test", "n", "depth", "median t/s", "spread", "min", "max");
  for (const BenchRow& row : report.rows) {
    print("{:<8} {:>6} {:>7} {:>11.2f} {:>6.1f} %  {:>11.2f} {:>11.2f}", bench_test_name(row.test), row.n, row.depth,
          row.median_tps, 100 * (row.max_tps - row.min_tps) / row.median_tps, row.min_tps, row.max_tps);
    // Decode reads the weights once per token: what memory can deliver is its ceiling. (A sparse FFN skips some.)
    if (row.test == BenchTest::decode && report.read_bytes_per_s > 0) {
      const double read = row.median_tps * static_cast<double>(engine.load_stats().weight_bytes);
      print("  weights at {:.1f} GB/s = {:.0f} % of {:.1f} GB/s measured", read / 1e9,
            100 * read / report.read_bytes_per_s, report.read_bytes_per_s / 1e9);
    }
    print("\n");
  }
}

int run(const BenchCommand& options) {
  Interrupt interrupt;
  ModelOptions model = options.model;
  if (model.engine.n_ctx == 0) model.engine.n_ctx = static_cast<std::uint32_t>(bench_positions(options.bench));
  Result<std::unique_ptr<Engine>> engine = load_engine(model, interrupt);
  if (!engine.ok()) return fail(engine.error());

  ProgressLine line;
  Result<std::vector<BenchRow>> rows = bench(
      **engine, options.bench,
      [&](BenchTest test, std::uint32_t n, std::uint32_t depth, std::uint32_t repetition) {
        const std::string which =
            repetition == 0 ? "warm-up" : fmt::format("{} of {}", repetition, options.bench.n_reps);
        line.show(fmt::format("{} {} at depth {}: {}", bench_test_name(test), n, depth, which));
      },
      interrupt.token());
  line.clear();
  if (!rows.ok()) return fail(rows.error());
  Report report{**engine, *std::move(rows), (*engine)->load_stats().seconds, peak_rss_mb(), 0};
  report.read_bytes_per_s =
      measure_read_bandwidth((*engine)->options().n_threads);  // after the peak: it needs memory itself

  const Format format = options.model.json ? Format::json : options.format;
  if (format == Format::json) write_json(to_json(report));
  if (format == Format::csv) print_csv(report);
  if (format == Format::table) print_table(report);
  return kExitOk;
}

}  // namespace

Action add_bench(CLI::App& app) {
  constexpr std::uint32_t kMaxTokens = 1 << 24;
  constexpr std::uint32_t kMaxReps = 10000;
  auto options = std::make_shared<BenchCommand>();
  add_model_options(app, options->model);
  const auto add_list = [&app](const std::string& flag, std::vector<std::uint32_t>& target, const std::string& help) {
    add_parsed(app, flag, "LIST", help, [&target](const std::string& text) -> Status {
      UNICORN_ASSIGN(target, parse_counts(text, 0, kMaxTokens));
      return Ok{};
    });
  };
  add_list("--prefill", options->bench.prefill, "Prompt lengths to measure; 0: none (default: 512)");
  add_list("--decode", options->bench.decode, "Numbers of new tokens to measure; 0: none (default: 64)");
  add_list("--depth", options->bench.depths, "Tokens that are in the cache already (default: 0)");
  add_count(app, "--reps", options->bench.n_reps, "Repetitions measured, after a warm-up (default: 5)", 1, kMaxReps);
  add_choice(app, "--format", "table, csv or json (default: table)", {"table", "csv", "json"},
             [options](const std::string& name) {
               options->format = name == "csv" ? Format::csv : name == "json" ? Format::json : Format::table;
             });
  app.footer(
      "Examples:\n"
      "  unicorn bench model.gguf\n"
      "  unicorn bench model.gguf --prefill 512,2048 --decode 64 --depth 0,2048 --threads 2 --reps 5 --json\n"
      "  unicorn bench model/ --weights q4_0 --format csv >> results.csv\n\n"
      "Figures are tokens per second. Prefill computes the last token's logits only; decode is greedy and obeys no end "
      "of\n"
      "answer. Every repetition must decode the same tokens, or there is no result.");
  return [options] { return run(*options); };
}

}  // namespace unicorn
