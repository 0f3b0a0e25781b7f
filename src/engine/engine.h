// The engine's public face: load a model, generate text, score tokens. See examples/ for a complete program.
//
//   auto engine = unicorn::Engine::load({.model = "model.gguf"});
//   if (!engine.ok()) return fail(engine.error().message);
//   unicorn::Session session(**engine);
//   auto ids = (*engine)->chat_prompt({{"user", "Why is the sky blue?"}});
//   auto answer = session.generate(*ids, {.max_tokens = 100}, [](std::string_view text) { std::cout << text; return true; });
//
// An Engine and its Sessions are used by one thread at a time; several engines may live in one process. Nothing here
// prints. What returns a Result or Status does not throw: memory that runs out on the way is ErrorCode::out_of_memory, and
// the engine, its sequences and sessions go on living. The rest throws std::bad_alloc at most (a Session's constructor, a
// description), as any copy of a string does. Exceptions of the caller's own callbacks, other than std::bad_alloc, pass through; none is needed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "core/result.h"
#include "core/token_id.h"

namespace unicorn {

class Tokenizer;
class StepObserver;
struct Plan;
struct ChatMessage;

// What a model's numbers are rounded to between operators. bf16 imitates Hugging Face's bfloat16 run, operator by
// operator, for comparisons; only the reference device does it.
enum class Precision : std::uint8_t { f32, bf16 };

struct EngineOptions {
  std::string model;  // a .gguf or .safetensors file, a Hugging Face folder; empty: the embedded demo
  std::string slice = "full";  // MatFormer slice: full, e2b, small, "ffn=512,skip=5-9"
  std::optional<DType> weights;  // run the weights in this type instead of the file's own
  std::string device = "auto";  // "cpu", "reference", "reference,cpu" (layers alternate), "reference@0-3,cpu"
  std::size_t n_threads = 0;  // 0: one per physical core
  std::uint32_t n_ctx = 0;  // positions per sequence; 0: what the model was trained for, at most 8192
  DType kv = DType::f16;  // f32, f16, bf16 or q8_0
  Precision precision = Precision::f32;
  std::uint32_t max_rows = 512;  // rows per pass: the prefill chunk
  std::uint32_t max_output_rows = 32;  // rows per pass whose logits may be asked for
  std::uint32_t n_sequences = 1;  // sequences that may be open at once
  // Called while weights are prepared, with the fraction done; returns false to give up (ErrorCode::cancelled).
  std::function<bool(double fraction)> progress;
};

struct ModelInfo {
  std::string path, name, family;  // "gemma3n"
  bool is_demo = false;  // the tiny embedded demo model
  std::string slice;
  std::uint32_t n_layers = 0, d_model = 0, n_vocab = 0, n_ctx_trained = 0;
  std::uint64_t n_parameters = 0;  // of the chosen slice, tables included
  std::string weight_types;  // "q4_0 71 %, q6_k 29 %" by bytes
};

struct LoadStats {
  double seconds = 0;
  std::size_t weight_bytes = 0;  // prepared weights held in memory
  std::size_t mapped_bytes = 0;  // tables read row by row from the file
  std::size_t kv_bytes = 0, activation_bytes = 0;
};

class Engine;

// One line of tokens with its KV rows. Movable; gives its blocks back when it goes. Must not outlive its engine.
class Sequence {
 public:
  Sequence(Sequence&&) noexcept;
  Sequence& operator=(Sequence&&) noexcept;
  ~Sequence();

  std::span<const TokenId> ids() const;  // tokens whose KV rows are in the cache
  // Forgets everything from position n on. Sliding layers keep only their window: when the rows that position n would
  // need are gone, everything is forgotten. Returns how many tokens remain (n or 0).
  std::size_t truncate(std::size_t n);

 private:
  friend class Engine;
  struct Impl;
  explicit Sequence(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

enum class Outputs : std::uint8_t { none, last, all };  // which of a piece of work's rows want logits

struct Work {
  Sequence* sequence = nullptr;
  std::span<const TokenId> ids;  // appended to the sequence
  Outputs outputs = Outputs::last;
};

// Logits of one row: the work it belongs to, its position in the sequence, f32[n_vocab] (valid during the call) and the
// state after the final norm, f32[d_model].
struct RowOutput {
  std::size_t work;
  std::size_t pos;
  std::span<const float> logits;
  std::span<const float> hidden;
};

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> load(EngineOptions options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const EngineOptions& options() const;  // with defaults resolved (n_ctx, n_threads, device, model)
  const ModelInfo& model() const;
  const LoadStats& load_stats() const;
  std::string device_description() const;  // "cpu: AMD Ryzen 7 8845HS, 8 threads, avx512_vnni"
  const Plan& plan() const;

  const Tokenizer* tokenizer() const;  // nullptr when the model came without one; ids work all the same
  // Token ids of a text (BOS first) with control tokens in it parsed, as Hugging Face's tokenizer call does.
  // Error: not_found, when the model came without a tokenizer.
  Result<std::vector<TokenId>> prompt(std::string_view text) const;
  // Token ids of a conversation, ending where the model's answer begins. Text never becomes a control token.
  Result<std::vector<TokenId>> chat_prompt(std::span<const ChatMessage> messages) const;
  std::span<const TokenId> stop_ids() const;  // ids that end an answer

  // Error: out_of_memory, when n_sequences are open already.
  Result<Sequence> new_sequence();

  // Runs the work of any number of sequences in as few passes as the limits allow, and hands each wanted row's logits
  // to `sink`. A sequence appears at most once. On an error, sequences keep the tokens that were finished. Errors:
  // invalid_argument (an id outside the vocabulary), context_full, cancelled, out_of_memory, device_lost.
  Status forward(std::span<const Work> work, const std::function<void(const RowOutput&)>& sink,
                 std::stop_token stop = {});

  // Sees every step of every pass from now on; nullptr: nobody does. For dumps and tests.
  void observe(StepObserver* observer);

 private:
  friend class Sequence;
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  Status run(std::span<const Work> work, const std::function<void(const RowOutput&)>& sink,
             const std::stop_token& stop);
  std::unique_ptr<Impl> impl_;
};

struct SamplingOptions {
  float temperature = 1.0f;  // 0: greedy
  std::uint32_t top_k = 64;  // 0: off
  float top_p = 0.95f;  // 1: off
  float min_p = 0.0f;  // 0: off
  float repetition_penalty = 1.0f, presence_penalty = 0.0f, frequency_penalty = 0.0f;
  std::uint32_t penalty_window = 64;  // of the latest tokens; 0: all
  std::vector<std::pair<TokenId, float>> logit_bias;  // added before everything else; -inf bans
  std::uint64_t seed = 0;  // 0: a fresh one each time
};

struct GenerateOptions {
  std::uint32_t max_tokens = 256;
  SamplingOptions sampling;
  std::vector<std::string> stop;  // strings that end the answer; they are not part of it
  bool ignore_eos = false;  // the tokens that end an answer are neither obeyed nor hidden
  // Tokens guessed ahead from what was said before and computed in the same pass (engine/draft.h). The answer is the
  // same with any number; it is faster where text repeats itself. Given up while it does not pay. 0: none.
  std::uint32_t max_draft = 3;
  std::stop_token cancel;
};

enum class FinishReason : std::uint8_t { stop, length, context_full, cancelled };
std::string_view finish_reason_name(FinishReason reason);

struct Generation {
  std::vector<TokenId> prompt_ids, ids;  // ids: without the token that ended the answer
  std::string text;
  FinishReason finish = FinishReason::stop;
  std::size_t n_cached = 0;  // prompt tokens whose KV rows were reused
  std::size_t n_prefilled = 0;  // prompt tokens computed: the rest, or less when cancelled
  std::size_t n_drafted = 0, n_accepted = 0;  // tokens guessed ahead, and those that were right
  double prefill_s = 0, decode_s = 0;
  std::uint64_t seed = 0;
  double prefill_tps() const;  // n_prefilled per second of prefill_s
  double decode_tps() const;  // new tokens after the first per second
};

// A sequence someone holds open: prompts that share a prefix with what is cached only compute the rest.
class Session {
 public:
  explicit Session(Engine& engine);
  Session(Session&&) noexcept;
  ~Session();

  // Called with each piece of whole UTF-8 as it is ready; returns false to stop (FinishReason::cancelled).
  using TextSink = std::function<bool(std::string_view text)>;

  // Generates after `prompt` (the whole of it, not only what is new). Errors: context_full when the prompt alone does
  // not fit, and those of Engine::forward.
  Result<Generation> generate(std::span<const TokenId> prompt, const GenerateOptions& options,
                              const TextSink& sink = {});

  std::span<const TokenId> cached() const;
  void reset();

 private:
  struct Impl;
  Result<Generation> run(std::span<const TokenId> prompt, const GenerateOptions& options, const TextSink& sink);
  std::unique_ptr<Impl> impl_;
};

}  // namespace unicorn
