#include "tools/dump.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <set>
#include <system_error>

#include "tools/npy.h"

namespace unicorn {

namespace fs = std::filesystem;

namespace {

Error bad_filter(std::string_view item, std::string_view expected) {
  return Error{ErrorCode::invalid_argument, fmt::format("dump filter '{}': expected {}", item, expected)};
}

std::optional<std::int32_t> parse_layer(std::string_view text) {
  std::int32_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc{} || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

Status add_layers(DumpFilter& filter, std::string_view item, std::string_view value) {
  if (value == "in") {
    filter.layers.push_back({-1, -1});
    return Ok{};
  }
  if (value == "out") {
    filter.after_layers = true;
    return Ok{};
  }
  const std::size_t dash = value.find('-');
  const auto first = parse_layer(value.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : parse_layer(value.substr(dash + 1));
  if (!first || !last || *last < *first) return bad_filter(item, "layer=3, layer=2-5, layer=in or layer=out");
  filter.layers.push_back({*first, *last});
  return Ok{};
}

bool wants_layer(const DumpFilter& filter, std::int32_t layer, std::uint32_t n_layers) {
  if (filter.layers.empty() && !filter.after_layers) return true;
  if (layer >= static_cast<std::int32_t>(n_layers)) return filter.after_layers;
  return std::any_of(filter.layers.begin(), filter.layers.end(),
                     [&](const DumpFilter::Layers& l) { return l.first <= layer && layer <= l.last; });
}

bool wants_op(const DumpFilter& filter, std::string_view op) {
  return filter.ops.empty() || std::find(filter.ops.begin(), filter.ops.end(), op) != filter.ops.end();
}

bool wants_tensor(const DumpFilter& filter, std::string_view name) {
  const std::string_view stem = name.substr(0, name.rfind('.'));
  return filter.tensors.empty() || std::any_of(filter.tensors.begin(), filter.tensors.end(),
                                               [&](const std::string& t) { return t == name || t == stem; });
}

// "0042-L03-attention-attn.3.npy"; names sort in step order.
std::string file_name(const Plan& plan, std::size_t step, const TensorRef& tensor) {
  const Step& s = plan.steps[step];
  std::string layer = fmt::format("L{:02}", s.layer);
  if (s.layer < 0) layer = "in";
  if (s.layer >= static_cast<std::int32_t>(plan.n_layers)) layer = "out";
  const TensorInfo& info = plan.tensors[index(tensor.id)];
  std::string name = info.name;
  if (tensor.width != info.width) name += fmt::format("@{}", tensor.offset);  // some columns of a wider tensor
  std::replace(name.begin(), name.end(), '/', '_');
  return fmt::format("{:04}-{}-{}-{}.npy", step, layer, op_name(s.op), name);
}

// The .npy files of a folder, in step order.
Result<std::vector<std::string>> dump_files(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error))
    return Error{ErrorCode::not_found, fmt::format("{}: no such folder", folder.string())};
  std::vector<std::string> names;
  for (auto it = fs::directory_iterator(folder, error); !error && it != fs::directory_iterator(); it.increment(error))
    if (it->path().extension() == ".npy") names.push_back(it->path().filename().string());
  if (error) return Error{ErrorCode::io, fmt::format("{}: {}", folder.string(), error.message())};
  const auto step_of = [](const std::string& name) {
    std::uint64_t step = std::numeric_limits<std::uint64_t>::max();  // files that are not of a dump come last
    std::from_chars(name.data(), name.data() + name.size(), step);
    return step;
  };
  std::sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
    return std::pair(step_of(a), std::string_view(a)) < std::pair(step_of(b), std::string_view(b));
  });
  return names;
}

}  // namespace

Result<DumpFilter> parse_dump_filter(std::string_view text) {
  DumpFilter filter;
  if (text.empty() || text == "all") return filter;
  while (true) {
    const std::size_t comma = text.find(',');
    const std::string_view item = text.substr(0, comma);
    const std::size_t equals = item.find('=');
    const std::string_view key = item.substr(0, equals);
    const std::string_view value = equals == std::string_view::npos ? std::string_view{} : item.substr(equals + 1);
    if (value.empty()) return bad_filter(item, "layer=…, op=… or tensor=…");
    if (key == "layer")
      UNICORN_TRY(add_layers(filter, item, value));
    else if (key == "op")
      filter.ops.emplace_back(value);
    else if (key == "tensor")
      filter.tensors.emplace_back(value);
    else
      return bad_filter(item, "layer=…, op=… or tensor=…");
    if (comma == std::string_view::npos) return filter;
    text.remove_prefix(comma + 1);
  }
}

TensorDump::TensorDump(fs::path folder, std::vector<std::vector<Output>> outputs)
    : folder_(std::move(folder)), outputs_(std::move(outputs)) {}

Result<std::unique_ptr<TensorDump>> TensorDump::create(const Plan& plan, const fs::path& folder, DumpFilter filter) {
  std::vector<std::vector<Output>> outputs(plan.steps.size());
  std::set<std::string_view> ops;
  bool any = false;
  for (std::size_t s = 0; s < plan.steps.size(); ++s) {
    const std::string_view op = op_name(plan.steps[s].op);
    ops.insert(op);
    for (const TensorRef& tensor : access(plan.steps[s]).writes) {
      const bool wanted = wants_layer(filter, plan.steps[s].layer, plan.n_layers) && wants_op(filter, op) &&
                          wants_tensor(filter, plan.tensors[index(tensor.id)].name);
      any |= wanted;
      outputs[s].push_back({.tensor = tensor, .file = wanted ? file_name(plan, s, tensor) : std::string{}});
    }
  }
  if (!any)
    return Error{ErrorCode::invalid_argument,
                 fmt::format("no step of this model's {} layers matches the dump filter; operations: {}", plan.n_layers,
                             fmt::join(ops, ", "))};

  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return Error{ErrorCode::io, fmt::format("{}: cannot create: {}", folder.string(), error.message())};
  UNICORN_ASSIGN(const std::vector<std::string> old, dump_files(folder));
  if (!old.empty())
    return Error{
        ErrorCode::invalid_argument,
        fmt::format("{}: holds {} .npy files already; a dump wants a folder of its own", folder.string(), old.size())};
  return std::unique_ptr<TensorDump>(new TensorDump(folder, std::move(outputs)));
}

void TensorDump::on_step(std::uint32_t step, TensorId tensor, std::span<const float> values, std::size_t n_rows) {
  if (!status_.ok() || n_rows == 0 || step >= outputs_.size()) return;
  std::vector<Output>& outputs = outputs_[step];
  if (step != step_ || next_ == outputs.size()) next_ = 0;
  step_ = step;
  // A tensor's parts come in the order the step lists them; what a backend leaves out is skipped.
  while (next_ < outputs.size() && outputs[next_].tensor.id != tensor) ++next_;
  if (next_ == outputs.size()) return;
  Output& output = outputs[next_++];
  if (!output.file.empty()) status_ = write(output, values, n_rows);
}

Status TensorDump::write(Output& output, std::span<const float> values, std::size_t n_rows) {
  const fs::path path = folder_ / output.file;
  const auto failed = [&] {
    const std::string why = std::strerror(errno);
    return Error{ErrorCode::io, fmt::format("{}: cannot write: {}", path.string(), why)};
  };
  // Opened anew each time: a deep model has more tensors than a process may hold files.
  const bool first = output.n_rows == 0;
  std::FILE* file = std::fopen(path.c_str(), first ? "wb" : "r+b");
  if (file == nullptr) return failed();
  const std::string header = npy_header(output.n_rows + n_rows, values.size() / n_rows);
  bool good = std::fwrite(header.data(), 1, header.size(), file) == header.size();
  good = good && std::fseek(file, 0, SEEK_END) == 0;
  good = good && std::fwrite(values.data(), sizeof(float), values.size(), file) == values.size();
  good = (std::fclose(file) == 0) && good;
  if (!good) return failed();
  output.n_rows += n_rows;
  n_files_ += first ? 1 : 0;
  return Ok{};
}

namespace {

// |a - b|; equal infinities and two NaNs agree, anything else against a NaN is infinitely far.
double distance(float a, float b) {
  if (a == b || (std::isnan(a) && std::isnan(b))) return 0;
  const double d = std::abs(static_cast<double>(a) - static_cast<double>(b));
  return std::isnan(d) ? std::numeric_limits<double>::infinity() : d;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

DumpDrift compare_tensor(const NpyMatrix& a, const NpyMatrix& b, DumpTolerance tolerance) {
  DumpDrift drift;
  drift.rows_a = a.n_rows, drift.width_a = a.width;
  drift.rows_b = b.n_rows, drift.width_b = b.width;
  drift.same_shape = a.n_rows == b.n_rows && a.width == b.width;
  if (!drift.same_shape) return drift;
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    const double error = distance(a.values[i], b.values[i]);
    if (error > drift.max_abs_error) {
      drift.max_abs_error = error;
      drift.row = i / a.width, drift.column = i % a.width;
      drift.a = a.values[i], drift.b = b.values[i];
    }
    if (error == 0) continue;  // before a NaN or an infinity makes `allowed` one
    const double allowed = tolerance.atol + tolerance.rtol * std::abs(static_cast<double>(b.values[i]));
    if (error <= allowed && std::isfinite(error)) continue;  // what is infinitely far is beyond any tolerance
    if (drift.n_beyond++ == 0) drift.first_row = i / a.width, drift.first_column = i % a.width;
  }
  return drift;
}

}  // namespace

Result<DumpComparison> compare_dumps(const fs::path& a, const fs::path& b, DumpTolerance tolerance) {
  UNICORN_ASSIGN(const std::vector<std::string> files_a, dump_files(a));
  UNICORN_ASSIGN(const std::vector<std::string> files_b, dump_files(b));
  const std::set<std::string_view> names_a(files_a.begin(), files_a.end());
  const std::set<std::string_view> names_b(files_b.begin(), files_b.end());

  DumpComparison result;
  for (const std::string& name : files_b)
    if (!names_a.contains(name)) result.only_in_b.push_back(name);
  for (const std::string& name : files_a) {
    if (!names_b.contains(name)) {
      result.only_in_a.push_back(name);
      continue;
    }
    UNICORN_ASSIGN(const NpyMatrix left, read_npy(a / name));
    UNICORN_ASSIGN(const NpyMatrix right, read_npy(b / name));
    ++result.n_compared;
    DumpDrift drift = compare_tensor(left, right, tolerance);
    drift.file = name;
    if (drift.same_shape && same_bits(left.values, right.values)) ++result.n_identical;
    result.max_abs_error = std::max(result.max_abs_error, drift.max_abs_error);
    if (!drift.same_shape || drift.n_beyond > 0) result.drifts.push_back(std::move(drift));
  }
  if (result.n_compared == 0)
    return Error{ErrorCode::not_found, fmt::format("{} and {} have no tensor in common ({} and {} .npy files)",
                                                   a.string(), b.string(), files_a.size(), files_b.size())};
  return result;
}

}  // namespace unicorn
