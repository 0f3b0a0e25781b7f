// A complete program on the engine's one public header: loads a model, answers a question, streams the text.
//
//   generate                                     the demo model (found through $UNICORN_DEMO_MODEL)
//   generate model.gguf "Why is the sky blue?"
//
// Build it with the project (target example_generate), or against the installed libraries: outside/CMakeLists.txt.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "text/chat_template.h"

namespace {

// Nothing in the engine throws or prints: a call that can fail returns a Result, and the caller decides what to say.
int fail(const unicorn::Error& error) {
  std::fprintf(stderr, "generate: %s\n", error.message.c_str());
  return EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  const char* demo = std::getenv("UNICORN_DEMO_MODEL");
  const std::string model = argc > 1 ? argv[1] : demo != nullptr ? demo : "";
  const std::string question = argc > 2 ? argv[2] : "What does \"river\" mean?";
  if (model.empty()) {
    std::fprintf(stderr, "usage: generate MODEL [QUESTION]\n");
    return 2;
  }

  // 1. Load. Every option has a default; here the context is kept small and the KV cache in 8 bits.
  unicorn::EngineOptions options;
  options.model = model;
  options.n_ctx = 1024;
  options.kv = unicorn::DType::q8_0;
  unicorn::Result<std::unique_ptr<unicorn::Engine>> loaded = unicorn::Engine::load(options);
  if (!loaded.ok()) return fail(loaded.error());
  unicorn::Engine& engine = **loaded;
  std::fprintf(stderr, "%s: %s, on %s\n", engine.model().name.c_str(), engine.model().weight_types.c_str(),
               engine.device_description().c_str());

  // 2. The conversation becomes token ids, in the model's own chat format.
  std::vector<unicorn::ChatMessage> messages = {{"user", question}};
  unicorn::Result<std::vector<unicorn::TokenId>> prompt = engine.chat_prompt(messages);
  if (!prompt.ok()) return fail(prompt.error());

  // 3. Generate. The sink gets each piece of text as soon as it is whole UTF-8; returning false would stop the answer.
  unicorn::GenerateOptions how;
  how.max_tokens = 100;
  how.sampling.temperature = 0;  // always the likeliest token; by default, tokens are drawn at random
  const auto stream = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    return std::fflush(stdout) == 0;
  };
  unicorn::Session session(engine);
  unicorn::Result<unicorn::Generation> answer = session.generate(*prompt, how, stream);
  if (!answer.ok()) return fail(answer.error());
  std::printf("\n");
  std::fprintf(stderr, "prefill %.1f t/s, decode %.1f t/s, %s\n", answer->prefill_tps(), answer->decode_tps(),
               std::string(unicorn::finish_reason_name(answer->finish)).c_str());

  // 4. A follow-up: the whole conversation is passed again, and what the session has in its KV cache is not computed
  // again.
  messages.push_back({"assistant", answer->text});
  messages.push_back({"user", "Are you sure?"});
  prompt = engine.chat_prompt(messages);
  if (!prompt.ok()) return fail(prompt.error());
  answer = session.generate(*prompt, how, stream);
  if (!answer.ok()) return fail(answer.error());
  std::printf("\n");
  std::fprintf(stderr, "%zu of %zu prompt tokens were in the cache\n", answer->n_cached, answer->prompt_ids.size());

  // 5. Underneath: tokens in, logits out. The first five ids of the prompt, the likeliest token after each.
  session.reset();  // gives its sequence back: this engine has one
  unicorn::Result<unicorn::Sequence> sequence = engine.new_sequence();
  if (!sequence.ok()) return fail(sequence.error());
  const std::span<const unicorn::TokenId> ids = std::span(*prompt).first(std::min<std::size_t>(prompt->size(), 5));
  const unicorn::Work work{&*sequence, ids, unicorn::Outputs::all};
  const unicorn::Status done = engine.forward({&work, 1}, [&](const unicorn::RowOutput& row) {
    const auto best = std::max_element(row.logits.begin(), row.logits.end());
    std::fprintf(stderr, "after %d: %d (logit %.3f)\n", ids[row.pos], static_cast<int>(best - row.logits.begin()),
                 *best);
  });
  return done.ok() ? EXIT_SUCCESS : fail(done.error());
}
