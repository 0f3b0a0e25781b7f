// Drives llama.cpp's shared libraries for measurements: a thin program over its public C API, compiled by peer.py
// against the headers of the very release whose libraries it loads. JSON on stdout, everything else on stderr.
//
//   llama_peer bench MODEL OPTIONS    speed of prefill and decode
//   llama_peer score MODEL OPTIONS    log-probability and best logits at every position of one sequence
//   llama_peer nll   MODEL OPTIONS    summed negative log-likelihood of windows of ids
//
// Every window is a sequence of its own, starting at position 0, and is taken as it is: no token is added.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "ggml-backend.h"
#include "llama.h"

namespace {

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "llama_peer: %s\n", message.c_str());
  std::exit(1);
}

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double peak_rss_mb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024.0 / 1e6;
}

// "zen4" of the libggml-cpu-zen4.so that was loaded.
std::string loaded_backend() {
  std::ifstream maps("/proc/self/maps");
  const std::string stem = "libggml-cpu-";
  for (std::string line; std::getline(maps, line);)
    if (const std::size_t at = line.rfind(stem); at != std::string::npos) {
      const std::size_t from = at + stem.size();
      return line.substr(from, line.rfind(".so") - from);
    }
  return "?";
}

struct Options {
  std::map<std::string, std::string> values;

  std::string text(const std::string& key, const std::string& otherwise) const {
    const auto it = values.find(key);
    return it == values.end() ? otherwise : it->second;
  }
  int number(const std::string& key, int otherwise) const {
    const auto it = values.find(key);
    return it == values.end() ? otherwise : std::atoi(it->second.c_str());
  }
  std::vector<int> numbers(const std::string& key, const std::string& otherwise) const {
    std::vector<int> list;
    std::stringstream in(text(key, otherwise));
    for (std::string item; std::getline(in, item, ',');) list.push_back(std::atoi(item.c_str()));
    return list;
  }
};

ggml_type kv_type(const std::string& name) {
  if (name == "f32") return GGML_TYPE_F32;
  if (name == "f16") return GGML_TYPE_F16;
  if (name == "q8_0") return GGML_TYPE_Q8_0;
  fail("--kv is f32, f16 or q8_0, not " + name);
}

// Windows, one a line: "FIRST ID ID …"; the targets from index FIRST on count.
struct Window {
  std::size_t first = 1;
  std::vector<llama_token> ids;
};

std::vector<Window> read_windows(const std::string& path) {
  std::ifstream in(path);
  if (!in) fail("cannot read " + path);
  std::vector<Window> windows;
  for (std::string line; std::getline(in, line);) {
    std::stringstream fields(line);
    Window w;
    if (!(fields >> w.first)) continue;
    for (llama_token id; fields >> id;) w.ids.push_back(id);
    windows.push_back(std::move(w));
  }
  if (windows.empty()) fail(path + " holds no window");
  return windows;
}

struct Peer {
  llama_model* model = nullptr;
  llama_context* ctx = nullptr;
  int n_vocab = 0, n_batch = 0;
  double load_s = 0;

  Peer(const std::string& path, const Options& o, int n_ctx, int batch) : n_batch(batch) {
    llama_log_set(
        [](ggml_log_level level, const char* text, void*) {
          if (level == GGML_LOG_LEVEL_ERROR || std::getenv("LLAMA_PEER_VERBOSE")) std::fputs(text, stderr);
        },
        nullptr);
    const std::string library = o.text("backend", "");
    if (library.empty()) fail("--backend FILE.so (or the folder of them) is missing");
    if (library.ends_with(".so")) {
      if (ggml_backend_load(library.c_str()) == nullptr) fail(library + " does not load on this machine");
    } else {
      ggml_backend_load_all_from_path(library.c_str());  // the best this CPU can run
    }
    llama_backend_init();
    const double start = now_s();
    llama_model_params mp = llama_model_default_params();
    mp.n_gpu_layers = 0;
    mp.use_extra_bufts = o.text("repack", "on") == "on";
    model = llama_model_load_from_file(path.c_str(), mp);
    if (model == nullptr) fail(path + " does not load");
    const int n_threads = o.number("threads", 1);
    llama_context_params cp = llama_context_default_params();
    cp.n_ctx = static_cast<std::uint32_t>(n_ctx);
    cp.n_batch = static_cast<std::uint32_t>(batch);
    cp.n_ubatch = static_cast<std::uint32_t>(std::min(batch, o.number("ubatch", 512)));
    cp.n_threads = cp.n_threads_batch = n_threads;
    cp.type_k = cp.type_v = kv_type(o.text("kv", "f16"));
    cp.swa_full = false;  // as llama-bench does
    const std::string flash = o.text("flash", "auto");
    cp.flash_attn_type = flash == "on"    ? LLAMA_FLASH_ATTN_TYPE_ENABLED
                         : flash == "off" ? LLAMA_FLASH_ATTN_TYPE_DISABLED
                                          : LLAMA_FLASH_ATTN_TYPE_AUTO;
    ctx = llama_init_from_model(model, cp);
    if (ctx == nullptr) fail("no context of " + std::to_string(n_ctx) + " positions");
    load_s = now_s() - start;
    n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
  }
  ~Peer() {
    llama_free(ctx);
    llama_model_free(model);
  }

  void clear() { llama_memory_clear(llama_get_memory(ctx), true); }

  // Appends ids at `pos`; logits of all of them, or of the last alone.
  void decode(const llama_token* ids, int n, int pos, bool all) {
    llama_batch batch = llama_batch_init(n, 0, 1);
    batch.n_tokens = n;
    for (int i = 0; i < n; ++i) {
      batch.token[i] = ids[i];
      batch.pos[i] = pos + i;
      batch.n_seq_id[i] = 1;
      batch.seq_id[i][0] = 0;
      batch.logits[i] = all || i + 1 == n;
    }
    const int error = llama_decode(ctx, batch);
    llama_batch_free(batch);
    if (error != 0) fail("llama_decode gave " + std::to_string(error));
    llama_synchronize(ctx);
  }

  // Calls visit(position, logits) for every position of one sequence.
  template <class Visit>
  void forward(const std::vector<llama_token>& ids, const Visit& visit) {
    clear();
    for (int at = 0; at < static_cast<int>(ids.size()); at += n_batch) {
      const int n = std::min<int>(n_batch, static_cast<int>(ids.size()) - at);
      decode(ids.data() + at, n, at, true);
      for (int i = 0; i < n; ++i) visit(at + i, llama_get_logits_ith(ctx, i));
    }
  }
};

double log_sum_exp(const float* logits, int n) {
  const float top = *std::max_element(logits, logits + n);
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += std::exp(static_cast<double>(logits[i] - top));
  return top + std::log(sum);
}

int bench(const std::string& path, const Options& o) {
  const std::vector<int> prefill = o.numbers("prefill", "512"), depths = o.numbers("depth", "0"),
                         prefill_depths = o.numbers("prefill-depth", "0");
  const int n_decode = o.number("decode", 64), reps = o.number("reps", 5);
  const auto most = [](const std::vector<int>& list) {
    return list.empty() ? 0 : *std::max_element(list.begin(), list.end());
  };
  const int n_ctx = std::max(most(prefill) + most(prefill_depths), n_decode + most(depths)) + 8;
  Peer peer(path, o, n_ctx, 2048);
  std::mt19937 random(1);
  const auto ids = [&](int n) {  // ordinary tokens; the multimodal tail of the vocabulary is never text
    std::vector<llama_token> list(static_cast<std::size_t>(n));
    const int limit = std::min(peer.n_vocab, 255000);
    for (llama_token& id : list)
      id = static_cast<llama_token>(500 + random() % static_cast<unsigned>(std::max(1, limit - 500)));
    if (limit <= 500)
      for (llama_token& id : list) id %= limit;
    return list;
  };
  const auto feed = [&](int n, int pos) {
    const std::vector<llama_token> list = ids(n);
    for (int at = 0; at < n; at += 2048) peer.decode(list.data() + at, std::min(2048, n - at), pos + at, false);
  };
  std::string rows;
  const auto add = [&](const char* test, int n, int depth, std::vector<double> tps) {
    std::sort(tps.begin(), tps.end());
    const std::size_t m = tps.size() / 2;
    const double median = tps.size() % 2 == 1 ? tps[m] : 0.5 * (tps[m - 1] + tps[m]);
    char row[256];
    std::snprintf(row, sizeof row,
                  "%s{\"test\": \"%s\", \"n\": %d, \"depth\": %d, \"median_tps\": %.4f, \"min\": %.4f, \"max\": %.4f}",
                  rows.empty() ? "" : ", ", test, n, depth, median, tps.front(), tps.back());
    rows += row;
  };
  // What one repetition measures; the first, unmeasured, warms up.
  const auto measure = [&](const char* test, int n, int depth, bool decode) {
    std::vector<double> tps;
    for (int rep = -1; rep < reps; ++rep) {
      peer.clear();
      if (depth > 0) feed(depth, 0);
      const std::vector<llama_token> list = ids(n);
      const double start = now_s();
      if (decode)
        for (int i = 0; i < n; ++i) peer.decode(&list[static_cast<std::size_t>(i)], 1, depth + i, false);
      else
        feed(n, depth);
      if (rep >= 0) tps.push_back(n / (now_s() - start));
    }
    add(test, n, depth, std::move(tps));
  };
  for (int n : prefill)
    for (int depth : prefill_depths)
      if (n > 0) measure("prefill", n, depth, false);
  if (n_decode > 0)
    for (int depth : depths) measure("decode", n_decode, depth, true);
  std::printf("{\"rows\": [%s], \"load_s\": %.4f, \"peak_rss_mb\": %.1f, \"backend\": \"%s\"}\n", rows.c_str(),
              peer.load_s, peak_rss_mb(), loaded_backend().c_str());
  return 0;
}

int score(const std::string& path, const Options& o) {
  const std::vector<Window> windows = read_windows(o.text("windows", ""));
  const std::vector<llama_token>& ids = windows[0].ids;
  const int top = o.number("top", 8);
  Peer peer(path, o, static_cast<int>(ids.size()) + 8, o.number("batch", 128));
  std::FILE* raw = nullptr;
  if (const std::string file = o.text("logits", ""); !file.empty()) {
    raw = std::fopen(file.c_str(), "wb");
    if (raw == nullptr) fail("cannot write " + file);
  }
  std::string logprobs = "null", tops;
  std::vector<int> order(static_cast<std::size_t>(peer.n_vocab));
  peer.forward(ids, [&](int pos, const float* logits) {
    if (raw != nullptr) std::fwrite(logits, sizeof(float), static_cast<std::size_t>(peer.n_vocab), raw);
    char text[64];
    if (pos + 1 < static_cast<int>(ids.size())) {
      std::snprintf(text, sizeof text, ", %.9g",
                    logits[ids[static_cast<std::size_t>(pos) + 1]] - log_sum_exp(logits, peer.n_vocab));
      logprobs += text;
    }
    for (int i = 0; i < peer.n_vocab; ++i) order[static_cast<std::size_t>(i)] = i;
    std::partial_sort(order.begin(), order.begin() + top, order.end(),
                      [&](int a, int b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
    tops += pos == 0 ? "[" : ", [";
    for (int i = 0; i < top; ++i) {
      const int id = order[static_cast<std::size_t>(i)];
      std::snprintf(text, sizeof text, "%s{\"id\": %d, \"logit\": %.9g}", i == 0 ? "" : ", ", id,
                    static_cast<double>(logits[id]));
      tops += text;
    }
    tops += "]";
  });
  if (raw != nullptr) std::fclose(raw);
  std::printf("{\"n_vocab\": %d, \"load_s\": %.4f, \"peak_rss_mb\": %.1f, \"logprobs\": [%s], \"logits_top\": [%s]}\n",
              peer.n_vocab, peer.load_s, peak_rss_mb(), logprobs.c_str(), tops.c_str());
  return 0;
}

int nll(const std::string& path, const Options& o) {
  const std::vector<Window> windows = read_windows(o.text("windows", ""));
  std::size_t longest = 0;
  for (const Window& w : windows) longest = std::max(longest, w.ids.size());
  Peer peer(path, o, static_cast<int>(longest) + 8, o.number("batch", 128));
  double sum = 0;
  std::size_t n = 0;
  const double start = now_s();
  for (const Window& w : windows) {
    peer.forward(w.ids, [&](int pos, const float* logits) {
      const std::size_t target = static_cast<std::size_t>(pos) + 1;
      if (target >= w.ids.size() || target < w.first) return;
      sum += log_sum_exp(logits, peer.n_vocab) - logits[w.ids[target]];
      ++n;
    });
    std::fprintf(stderr, "llama.cpp: %zu tokens scored, perplexity %.4f\n", n, std::exp(sum / static_cast<double>(n)));
  }
  std::printf("{\"tokens\": %zu, \"nll\": %.9g, \"perplexity\": %.9g, \"seconds\": %.2f, \"backend\": \"%s\"}\n", n,
              sum / static_cast<double>(n), std::exp(sum / static_cast<double>(n)), now_s() - start,
              loaded_backend().c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) fail("usage: llama_peer bench|score|nll MODEL --backend FILE.so [--threads N] …");
  Options options;
  for (int i = 3; i + 1 < argc; i += 2) {
    if (std::strncmp(argv[i], "--", 2) != 0) fail(std::string("expected an option, found ") + argv[i]);
    options.values[argv[i] + 2] = argv[i + 1];
  }
  const std::string command = argv[1], model = argv[2];
  if (command == "bench") return bench(model, options);
  if (command == "score") return score(model, options);
  if (command == "nll") return nll(model, options);
  fail("unknown command " + command);
}
