// unicorn bench: prefill and decode speed at several depths.
#include "tools/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

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
  double load_s, peak_rss_mb;
  MachineLimits machine;

  std::optional<double> limit(const BenchRow& row) const { return limit_tps(engine, row, machine); }
};

std::string kv_name(const Engine& engine) { return std::string(dtype_name(engine.options().kv)); }

Json to_json(const Report& report) {
  Json rows = Json::array();
  for (const BenchRow& row : report.rows) {
    const std::optional<double> limit = report.limit(row);
    rows.push_back(Json{{"test", bench_test_name(row.test)},
                        {"n", row.n},
                        {"depth", row.depth},
                        {"sequences", row.n_sequences},
                        {"median_tps", row.median_tps},
                        {"min", row.min_tps},
                        {"max", row.max_tps},
                        {"limit_tps", limit ? Json(*limit) : Json()},
                        {"share_of_limit", limit ? Json(row.median_tps / *limit) : Json()}});
  }
  const Engine& engine = report.engine;
  return Json{{"rows", std::move(rows)},
              {"load_s", report.load_s},
              {"peak_rss_mb", report.peak_rss_mb},
              {"weight_mb", static_cast<double>(engine.load_stats().weight_bytes) / 1e6},
              {"read_gb_s", report.machine.read_bytes_per_s / 1e9},
              {"int8_gops", report.machine.int8_ops_per_s / 1e9},
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
  print(
      "test,n,depth,sequences,median_tps,min,max,limit_tps,load_s,peak_rss_mb,read_gb_s,int8_gops,model,slice,weights,"
      "kv,device,threads,cpu,commit\n");
  for (const BenchRow& row : report.rows) {
    const std::optional<double> limit = report.limit(row);
    print("{},{},{},{},{:.3f},{:.3f},{:.3f},{},{:.3f},{:.1f},{:.1f},{:.0f},{},{},{},{},{},{},{},{}\n",
          bench_test_name(row.test), row.n, row.depth, row.n_sequences, row.median_tps, row.min_tps, row.max_tps,
          limit ? fmt::format("{:.3f}", *limit) : "", report.load_s, report.peak_rss_mb,
          report.machine.read_bytes_per_s / 1e9, report.machine.int8_ops_per_s / 1e9, csv_field(engine.model().path),
          csv_field(engine.model().slice), csv_field(engine.model().weight_types), kv_name(engine),
          csv_field(engine.device_description()), engine.options().n_threads, csv_field(cpu_features().brand),
          commit());
  }
}

void print_table(const Report& report) {
  const Engine& engine = report.engine;
  const ModelInfo& model = engine.model();
  print("{}  {}, {:.1f} M parameters, slice {}, {}\n", model.name, model.family,
        static_cast<double>(model.n_parameters) / 1e6, model.slice, model.weight_types);
  print("{}, {} threads, KV {}, commit {}\n", engine.device_description(), engine.options().n_threads, kv_name(engine),
        commit());
  print("loaded in {:.2f} s, weights {}, peak memory {:.0f} MB\n", report.load_s,
        human_bytes(engine.load_stats().weight_bytes), report.peak_rss_mb);
  print("measured here: int8 {:.0f} Gop/s, memory {:.1f} GB/s\n\n", report.machine.int8_ops_per_s / 1e9,
        report.machine.read_bytes_per_s / 1e9);
  print("{:<8} {:>6} {:>7} {:>10} {:>11} {:>9} {:>10} {:>10} {:>10} {:>6}\n", "test", "n", "depth", "sequences",
        "median t/s", "spread", "min", "max", "limit t/s", "share");
  for (const BenchRow& row : report.rows) {
    print("{:<8} {:>6} {:>7} {:>10} {:>11.2f} {:>7.1f} % {:>10.2f} {:>10.2f}", bench_test_name(row.test), row.n,
          row.depth, row.n_sequences, row.median_tps, 100 * (row.max_tps - row.min_tps) / row.median_tps, row.min_tps,
          row.max_tps);
    if (const std::optional<double> limit = report.limit(row))
      print(" {:>10.1f} {:>4.0f} %", *limit, 100 * row.median_tps / *limit);
    print("\n");
  }
}

int run(const BenchCommand& options) {
  Interrupt interrupt;
  ModelOptions model = options.model;
  reserve_for(options.bench, model.engine);
  Result<std::unique_ptr<Engine>> engine = load_engine(model, interrupt);
  if (!engine.ok()) return fail(engine.error());

  ProgressLine line;
  Result<std::vector<BenchRow>> rows = bench(
      **engine, options.bench,
      [&](const BenchRow& row, std::uint32_t repetition) {
        const std::string which =
            repetition == 0 ? "warm-up" : fmt::format("{} of {}", repetition, options.bench.n_reps);
        const std::string times = row.n_sequences == 1 ? "" : fmt::format(" × {} sequences", row.n_sequences);
        line.show(fmt::format("{} {}{} at depth {}: {}", bench_test_name(row.test), row.n, times, row.depth, which));
      },
      interrupt.token());
  line.clear();
  if (!rows.ok()) return fail(rows.error());
  Report report{**engine, *std::move(rows), (*engine)->load_stats().seconds, peak_rss_mb(), {}};
  // After the peak was taken: it needs memory itself. The better of two is what the machine can do.
  for (int i = 0; i < 2; ++i) {
    const Result<MachineLimits> limits = measure_limits((*engine)->options().n_threads);
    if (!limits.ok()) return fail(limits.error());
    report.machine.int8_ops_per_s = std::max(report.machine.int8_ops_per_s, limits->int8_ops_per_s);
    report.machine.read_bytes_per_s = std::max(report.machine.read_bytes_per_s, limits->read_bytes_per_s);
  }

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
  add_list("--sequences", options->bench.sequences, "Numbers of sequences that decode at once (default: 1)");
  add_count(app, "--reps", options->bench.n_reps, "Repetitions measured, after a warm-up (default: 5)", 1, kMaxReps);
  add_choice(app, "--format", "table, csv or json (default: table)", {"table", "csv", "json"},
             [options](const std::string& name) {
               options->format = name == "csv" ? Format::csv : name == "json" ? Format::json : Format::table;
             });
  app.footer(
      "Examples:\n"
      "  unicorn bench model.gguf\n"
      "  unicorn bench model.gguf --prefill 512,2048 --decode 64 --depth 0,2048 --threads 2 --reps 5 --json\n"
      "  unicorn bench model/ --weights q4_0 --format csv >> results.csv\n"
      "  unicorn bench model.gguf --prefill 0 --sequences 1,8,32\n\n"
      "Figures are tokens per second, of all sequences together. Prefill computes the last token's logits only;\n"
      "decode is greedy and obeys no end of answer. Every repetition must decode the same tokens, or there is no\n"
      "result. The limit: all products at the int8 peak, or all bytes at the memory's read bandwidth, both measured\n"
      "after the runs with the same threads and instruction set. A model that fits the caches can pass it.");
  return [options] { return run(*options); };
}

}  // namespace unicorn
