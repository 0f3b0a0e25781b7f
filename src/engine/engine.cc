#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <new>
#include <set>
#include <system_error>

#include "backends/registry.h"
#include "core/thread_pool.h"
#include "engine/executor.h"
#include "engine/kv_cache.h"
#include "engine/memory.h"
#include "engine/model_files.h"
#include "engine/out_of_memory.h"
#include "model/model.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace unicorn {
namespace {

constexpr std::uint32_t kDefaultContext = 8192;
constexpr std::uint32_t kKvBlockTokens = 32;

double to_gb(std::size_t bytes) { return static_cast<double>(bytes) / 1e9; }

// "q4_0 71 %, q6_k 29 %": what the multiplied weights are run in, by bytes.
std::string describe_weights(const Plan& plan) {
  std::map<DType, std::size_t> bytes;
  std::size_t total = 0;
  for (const WeightRef& w : plan.weights) {
    if (w.use != WeightUse::matmul && w.use != WeightUse::both) continue;
    bytes[w.as] += w.n_bytes();
    total += w.n_bytes();
  }
  std::vector<std::pair<DType, std::size_t>> order(bytes.begin(), bytes.end());
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string text;
  for (const auto& [dtype, n] : order) {
    const double percent = 100.0 * static_cast<double>(n) / static_cast<double>(std::max<std::size_t>(total, 1));
    if (percent < 0.5 && !text.empty()) continue;
    text += fmt::format("{}{} {:.0f} %", text.empty() ? "" : ", ", dtype_name(dtype), percent);
  }
  return text;
}

}  // namespace

struct Engine::Impl {
  EngineOptions options;
  ModelInfo info;
  LoadStats stats;
  ModelFiles files;
  ModelConfig config;
  Plan plan;
  Limits limits;
  std::unique_ptr<Executor> executor;
  KvPool kv;
  std::optional<Tokenizer> tokenizer;
  std::optional<ChatFormat> chat;
  std::vector<TokenId> stop_ids;
  StepObserver* observer = nullptr;
  std::uint32_t n_open = 0;

  Status load();
  Status load_text();
  Status choose_limits();
  Result<Devices> choose_devices();  // resolves options.device too
};

struct Sequence::Impl {
  explicit Impl(Engine::Impl& e) : engine(&e), tables(e.kv) {
    ids.reserve(e.limits.max_positions);  // so that a pass that was computed cannot fail to be noted down
    ++engine->n_open;
  }
  ~Impl() { --engine->n_open; }
  Engine::Impl* engine;
  std::vector<TokenId> ids;
  KvTables tables;
};

Status Engine::Impl::load_text() {
  UNICORN_ASSIGN(std::optional<Vocab> vocab, load_vocab(files));
  if (!vocab) return Ok{};
  UNICORN_ASSIGN(tokenizer, Tokenizer::create(std::move(*vocab)));
  if (Result<ChatFormat> format = ChatFormat::for_tokenizer(*tokenizer); format.ok()) chat = std::move(format).value();
  stop_ids = unicorn::stop_ids(*tokenizer);
  return Ok{};
}

Status Engine::Impl::choose_limits() {
  if (options.n_ctx == 0) options.n_ctx = std::min(config.n_ctx, kDefaultContext);
  if (options.max_rows == 0 || options.max_output_rows == 0 || options.n_sequences == 0)
    return Error{ErrorCode::invalid_argument, "max_rows, max_output_rows and n_sequences must be at least 1"};
  if (!(options.kv == DType::f32 || options.kv == DType::f16 || options.kv == DType::bf16 || options.kv == DType::q8_0))
    return Error{ErrorCode::invalid_argument,
                 fmt::format("the KV cache can be f32, f16, bf16 or q8_0, not {}", dtype_name(options.kv))};
  if (config.head_dim % dtype_info(options.kv).block != 0)
    return Error{ErrorCode::invalid_argument, fmt::format("head_dim {} does not divide into {} blocks; use --kv f16",
                                                          config.head_dim, dtype_name(options.kv))};
  limits.max_rows = std::min(options.max_rows, std::max(options.n_ctx, options.n_sequences));
  limits.max_output_rows = std::min(options.max_output_rows, limits.max_rows);
  limits.max_sequences = options.n_sequences;
  limits.max_positions = options.n_ctx;
  limits.kv_block_tokens = kKvBlockTokens;
  limits.kv_dtype = options.kv;
  limits.kv_blocks = kv_blocks_needed(plan, options.n_ctx, limits.max_rows, options.n_sequences, kKvBlockTokens);
  return Ok{};
}

Result<Devices> Engine::Impl::choose_devices() {
  Devices devices;
  if (options.device == "auto") {
    for (const std::string_view name : backend_names()) {
      Result<std::unique_ptr<Backend>> device = create_backend(name, {options.n_threads});
      if (device.ok())
        devices.emplace(name, std::move(device).value());
      else if (device.error().code != ErrorCode::unsupported)  // what this machine lacks is no candidate
        return std::move(device).error();
    }
    options.device = fastest_device(devices, plan, limits);
    if (options.device.empty())
      return Error{ErrorCode::unsupported, fmt::format("{}: no device here can run it", files.path.string())};
    return devices;
  }
  UNICORN_ASSIGN(const std::vector<PlacedRange> placement, place(plan, options.device));
  for (const PlacedRange& p : placement) {
    if (devices.contains(p.device)) continue;
    UNICORN_ASSIGN(devices[p.device], create_backend(p.device, {options.n_threads}));
  }
  return devices;
}

Status Engine::Impl::load() {
  const auto start = std::chrono::steady_clock::now();
  UNICORN_ASSIGN(files, ModelFiles::open(options.model));
  config = files.config;
  UNICORN_TRY(apply_slice(config, options.slice));
  UNICORN_TRY(load_text());
  const WeightSource source(files.table(), files.naming(), options.weights);
  UNICORN_ASSIGN(plan, build_plan(config, source));
  plan.activation = options.precision == Precision::bf16 ? Activation::bf16 : Activation::f32;
  UNICORN_TRY(choose_limits());

  if (options.n_threads == 0) options.n_threads = n_usable_cores();
  UNICORN_ASSIGN(Devices devices, choose_devices());
  UNICORN_ASSIGN(const std::vector<PlacedRange> placement, place(plan, options.device));

  const MemoryNeed need = memory_needed(plan, placement, limits, devices);
  if (const std::optional<std::size_t> available = available_memory(); available && need.total() > *available)
    return Error{
        ErrorCode::out_of_memory,
        fmt::format(
            "{}: needs {:.2f} GB of memory (weights {:.2f}, KV cache for {} positions {:.2f}, activations {:.2f}), "
            "{:.2f} GB are available; try --weights q4_0, a smaller --ctx or --slice",
            files.path.string(), to_gb(need.total()), to_gb(need.weights), options.n_ctx, to_gb(need.kv),
            to_gb(need.activations), to_gb(*available))};

  std::size_t total = 0, done = 0;
  for (const WeightRef& w : plan.weights) total += w.use == WeightUse::rows ? 0 : w.n_bytes();
  const Progress progress = [&](std::size_t bytes) {
    done += bytes;
    return !options.progress ||
           options.progress(
               std::min(1.0, static_cast<double>(done) / static_cast<double>(std::max<std::size_t>(total, 1))));
  };
  UNICORN_ASSIGN(executor, Executor::create(plan, placement, limits, std::move(devices), progress));
  kv = KvPool(plan, limits);

  info.path = files.path.string();
  info.name = files.path.filename().string();
  info.family = family_name(config.family);
  info.slice = options.slice;
  info.n_layers = config.n_layers();
  info.d_model = config.d_model;
  info.n_vocab = config.n_vocab;
  info.n_ctx_trained = config.n_ctx;
  for (const WeightRef& w : plan.weights) info.n_parameters += std::uint64_t{w.n} * w.k;
  info.weight_types = describe_weights(plan);
  stats.weight_bytes = executor->weight_bytes();
  for (const WeightRef& w : plan.weights)
    for (const TensorView& part : w.parts) stats.mapped_bytes += w.use == WeightUse::rows ? part.n_bytes() : 0;
  stats.kv_bytes = executor->kv_bytes();
  stats.activation_bytes = need.activations;
  stats.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return Ok{};
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::load(EngineOptions options) {
  return or_out_of_memory([&]() -> Result<std::unique_ptr<Engine>> {
    const std::string model = options.model;
    try {
      auto impl = std::make_unique<Impl>();
      impl->options = std::move(options);
      UNICORN_TRY(impl->load());
      return std::unique_ptr<Engine>(new Engine(std::move(impl)));
    } catch (const std::bad_alloc&) {
      return Error{ErrorCode::out_of_memory, fmt::format("{}: memory ran out while loading", model)};
    } catch (const std::system_error& e) {  // threads, directories
      return Error{ErrorCode::io, fmt::format("{}: {}", model, e.what())};
    }
  });
}

const EngineOptions& Engine::options() const { return impl_->options; }
const ModelInfo& Engine::model() const { return impl_->info; }
const LoadStats& Engine::load_stats() const { return impl_->stats; }
std::string Engine::device_description() const { return impl_->executor->description(); }
const Plan& Engine::plan() const { return impl_->plan; }
const Tokenizer* Engine::tokenizer() const { return impl_->tokenizer ? &*impl_->tokenizer : nullptr; }
std::span<const TokenId> Engine::stop_ids() const { return impl_->stop_ids; }
void Engine::observe(StepObserver* observer) { impl_->observer = observer; }

Result<std::vector<TokenId>> Engine::prompt(std::string_view text) const {
  if (!impl_->tokenizer)
    return Error{ErrorCode::not_found,
                 fmt::format("{}: came without a tokenizer; pass token ids instead", impl_->info.path)};
  return or_out_of_memory([&]() -> Result<std::vector<TokenId>> {
    return impl_->tokenizer->encode(text, {.add_bos = impl_->tokenizer->vocab().add_bos, .parse_special = true});
  });
}

Result<std::vector<TokenId>> Engine::chat_prompt(std::span<const ChatMessage> messages) const {
  if (!impl_->tokenizer)
    return Error{ErrorCode::not_found,
                 fmt::format("{}: came without a tokenizer; pass token ids instead", impl_->info.path)};
  if (!impl_->chat)
    return Error{ErrorCode::unsupported,
                 fmt::format("{}: its vocabulary has no turn tokens, so it cannot chat", impl_->info.path)};
  return or_out_of_memory([&]() -> Result<std::vector<TokenId>> {
    return impl_->chat->encode(*impl_->tokenizer, {messages.begin(), messages.end()});
  });
}

Result<Sequence> Engine::new_sequence() {
  if (impl_->n_open >= impl_->options.n_sequences)
    return Error{ErrorCode::out_of_memory,
                 fmt::format("all {} sequences are open already", impl_->options.n_sequences)};
  return or_out_of_memory([&]() -> Result<Sequence> { return Sequence(std::make_unique<Sequence::Impl>(*impl_)); });
}

Status Engine::forward(std::span<const Work> work, const std::function<void(const RowOutput&)>& sink,
                       std::stop_token stop) {
  return or_out_of_memory([&] { return run(work, sink, stop); });
}

Status Engine::run(std::span<const Work> work, const std::function<void(const RowOutput&)>& sink,
                   const std::stop_token& stop) {
  Impl& e = *impl_;
  std::set<const Sequence*> seen;
  for (const Work& w : work) {
    if (!seen.insert(w.sequence).second)
      return Error{ErrorCode::invalid_argument, "a sequence appears twice in one call"};
    const std::size_t end = w.sequence->ids().size() + w.ids.size();
    if (end > e.limits.max_positions)
      return Error{ErrorCode::context_full,
                   fmt::format("{} tokens do not fit a context of {}; raise --ctx", end, e.limits.max_positions)};
    for (TokenId id : w.ids)
      if (id < 0 || static_cast<std::uint32_t>(id) >= e.plan.n_vocab)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("token id {} is outside the vocabulary of {}", id, e.plan.n_vocab)};
  }

  std::vector<std::size_t> done(work.size(), 0);
  std::vector<Segment> segments;
  std::vector<TokenId> ids;
  std::vector<std::uint32_t> output_rows;
  struct Wanted {
    std::size_t work, pos;
  };
  std::vector<Wanted> wanted;
  std::vector<std::pair<std::size_t, std::size_t>> taken;  // work, rows
  for (std::size_t first = 0; first < work.size();) {
    if (stop.stop_requested()) return Error{ErrorCode::cancelled, "cancelled"};
    segments.clear();
    ids.clear();
    output_rows.clear();
    wanted.clear();
    taken.clear();
    // Fill the pass with rows of as many sequences as fit, in order.
    for (std::size_t i = first; i < work.size() && segments.size() < e.limits.max_sequences; ++i) {
      const Work& w = work[i];
      const std::size_t output_room = e.limits.max_output_rows - output_rows.size();
      std::size_t n = std::min(w.ids.size() - done[i], e.limits.max_rows - ids.size());
      if (w.outputs == Outputs::all) n = std::min(n, output_room);
      if (w.outputs == Outputs::last && output_room == 0 && done[i] + n == w.ids.size())
        n -= std::min<std::size_t>(n, 1);
      if (n == 0) {
        if (done[i] == w.ids.size()) continue;
        break;
      }
      Sequence::Impl& s = *w.sequence->impl_;
      const std::size_t pos = s.ids.size();
      UNICORN_TRY(s.tables.reserve(pos, pos + n));
      const auto row = static_cast<std::uint32_t>(ids.size());
      segments.push_back({row, static_cast<std::uint32_t>(n), static_cast<std::uint32_t>(pos), s.tables.view(), {}});
      for (std::size_t r = 0; r < n; ++r) {
        const bool last = done[i] + r + 1 == w.ids.size();
        if (w.outputs == Outputs::all || (w.outputs == Outputs::last && last)) {
          output_rows.push_back(row + static_cast<std::uint32_t>(r));
          wanted.push_back({i, pos + r});
        }
      }
      const std::span<const TokenId> chunk = w.ids.subspan(done[i], n);
      ids.insert(ids.end(), chunk.begin(), chunk.end());
      taken.emplace_back(i, n);
    }
    if (!segments.empty()) {
      UNICORN_TRY(e.executor->run({segments, ids, output_rows}, e.observer));
      for (const auto& [i, n] : taken) {
        const std::span<const TokenId> chunk = work[i].ids.subspan(done[i], n);
        std::vector<TokenId>& known = work[i].sequence->impl_->ids;
        known.insert(known.end(), chunk.begin(), chunk.end());
        done[i] += n;
      }
      for (std::size_t o = 0; o < wanted.size(); ++o)
        sink({wanted[o].work, wanted[o].pos, e.executor->logits(o), e.executor->hidden(o)});
    }
    while (first < work.size() && done[first] == work[first].ids.size()) ++first;
  }
  return Ok{};
}

Sequence::Sequence(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Sequence::Sequence(Sequence&&) noexcept = default;
Sequence& Sequence::operator=(Sequence&&) noexcept = default;
Sequence::~Sequence() = default;

std::span<const TokenId> Sequence::ids() const { return impl_->ids; }

std::size_t Sequence::truncate(std::size_t n) {
  if (n >= impl_->ids.size()) return impl_->ids.size();
  if (!impl_->tables.can_resume_at(n)) n = 0;
  impl_->tables.truncate(n);
  impl_->ids.resize(n);
  return n;
}

}  // namespace unicorn
