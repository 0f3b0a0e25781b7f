// Encodes or decodes many texts at once, for scripts/compare_tokenizer.py.
//   tokenize_many TOKENIZER.json encode [--parse-special] [--rebuild-merges] [--repeat N]    texts in, ids out
//   tokenize_many TOKENIZER.json decode [--skip-special]                                      ids in, texts out
// A text is its length in bytes, a newline, and the bytes; ids are one line of decimal numbers. Times go to stderr, in
// milliseconds of CPU time: the program has one thread, and a busy machine then changes the figures little.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "core/mapped_file.h"
#include "text/tokenizer.h"

namespace {

using namespace unicorn;

double cpu_ms() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

// The kernel's own high-water mark; getrusage's would include the parent's memory at the time of the fork.
long peak_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtol(line.c_str() + 6, nullptr, 10) / 1024;
  }
  return -1;
}

int fail(const std::string& message) {
  std::fprintf(stderr, "tokenize_many: %s\n", message.c_str());
  return 1;
}

std::string read_all(std::FILE* file) {
  std::string text;
  char buffer[1 << 16];
  for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, file)) > 0;) text.append(buffer, n);
  return text;
}

int encode(const Tokenizer& tokenizer, const std::string& input, EncodeOptions options, int n_repeats) {
  std::vector<std::string_view> texts;
  std::size_t n_bytes = 0;
  for (std::size_t at = 0; at < input.size();) {
    const std::size_t newline = input.find('\n', at);
    if (newline == std::string::npos) return fail("expected a length and a newline");
    const std::size_t size = std::strtoul(input.c_str() + at, nullptr, 10);
    at = std::min(newline + 1, input.size());
    texts.push_back(std::string_view(input).substr(at, size));
    at += texts.back().size();
    n_bytes += texts.back().size();
  }
  std::vector<std::vector<TokenId>> ids(texts.size());
  for (int repeat = 0; repeat < n_repeats; ++repeat) {
    const double start = cpu_ms();
    for (std::size_t i = 0; i < texts.size(); ++i) ids[i] = tokenizer.encode(texts[i], options);
    std::fprintf(stderr, "encode_ms %.3f bytes %zu\n", cpu_ms() - start, n_bytes);
  }
  std::string out;
  for (const std::vector<TokenId>& line : ids) {
    for (const TokenId id : line) (out += std::to_string(id)) += ' ';
    out += '\n';
  }
  std::fwrite(out.data(), 1, out.size(), stdout);
  return 0;
}

int decode(const Tokenizer& tokenizer, const std::string& input, bool skip_special) {
  std::string out;
  std::vector<TokenId> ids;
  for (const char* p = input.c_str(); *p != '\0';) {
    if (*p == '\n') {
      const std::string text = tokenizer.decode(ids, skip_special);
      out += std::to_string(text.size()) + '\n' + text;
      ids.clear();
      ++p;
    } else if (*p == ' ') {
      ++p;
    } else {
      char* end = nullptr;
      ids.push_back(static_cast<TokenId>(std::strtol(p, &end, 10)));
      if (end == p) return fail("expected ids");
      p = end;
    }
  }
  std::fwrite(out.data(), 1, out.size(), stdout);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return fail("usage: tokenize_many TOKENIZER.json encode|decode [options]");
  const std::string path = argv[1];
  const std::string_view mode = argv[2];
  EncodeOptions options;
  bool skip_special = false, rebuild_merges = false;
  int n_repeats = 1;
  for (int i = 3; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "--parse-special") options.parse_special = true;
    if (arg == "--skip-special") skip_special = true;
    if (arg == "--rebuild-merges") rebuild_merges = true;
    if (arg == "--repeat" && i + 1 < argc) n_repeats = std::atoi(argv[++i]);
  }
  const double start = cpu_ms();
  auto file = MappedFile::open(path);
  if (!file.ok()) return fail(file.error().message);
  auto vocab =
      vocab_from_tokenizer_json({reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()}, path);
  if (!vocab.ok()) return fail(vocab.error().message);
  if (rebuild_merges) vocab->merges.clear();
  auto tokenizer = Tokenizer::create(std::move(*vocab), path);
  if (!tokenizer.ok()) return fail(tokenizer.error().message);
  *file = MappedFile();
  std::fprintf(stderr, "load_ms %.1f peak_mib %ld\n", cpu_ms() - start, peak_mib());

  const std::string input = read_all(stdin);
  return mode == "decode" ? decode(*tokenizer, input, skip_special) : encode(*tokenizer, input, options, n_repeats);
}
