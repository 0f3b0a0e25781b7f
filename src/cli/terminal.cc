#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace unicorn {

bool stdin_is_terminal() { return isatty(STDIN_FILENO) == 1; }
bool stdout_is_terminal() { return isatty(STDOUT_FILENO) == 1; }
bool stderr_is_terminal() { return isatty(STDERR_FILENO) == 1; }

bool use_colour() {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  if (no_color != nullptr && *no_color != '\0') return false;
  return stdout_is_terminal() && term != nullptr && std::string_view(term) != "dumb";
}

void put(std::FILE* file, std::string_view text) { std::fwrite(text.data(), 1, text.size(), file); }

int fail(const Error& error) {
  if (error.code == ErrorCode::cancelled) {
    note("unicorn: interrupted");
    return kExitInterrupted;
  }
  note("unicorn: {}", error.message);
  return kExitError;
}

int fail_usage(std::string_view message) {
  note("unicorn: {}", message);
  return kExitUsage;
}

std::string shown_text(std::string_view text) {
  std::string shown;
  shown.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool c0 = (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
    // U+0080 … U+009F, in UTF-8 C2 80 … C2 9F, are controls too: 9B begins an escape sequence.
    const bool c1 = c == 0xc2 && i + 1 < text.size() && (static_cast<unsigned char>(text[i + 1]) & 0xe0) == 0x80;
    if (c0 || c1)
      shown += "\xEF\xBF\xBD";
    else
      shown += text[i];
    if (c1) ++i;
  }
  return shown;
}

bool write_text(std::string_view text) {
  static const bool terminal = stdout_is_terminal();
  const std::string safe = terminal ? shown_text(text) : std::string{};
  if (terminal) text = safe;
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
}

void write_json(const Json& json) {
  std::string line = dump_json(json);
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fflush(stdout);
}

int finish_output(int exit_code) {
  const bool flushed = std::fflush(stdout) == 0;
  if ((!flushed || std::ferror(stdout) != 0) && exit_code == kExitOk) {
    note("unicorn: cannot write to standard output{}", flushed ? "" : fmt::format(": {}", std::strerror(errno)));
    return kExitError;
  }
  return exit_code;
}

bool ProgressLine::due() {
  using std::chrono::milliseconds;
  const auto now = std::chrono::steady_clock::now();
  if (!stderr_is_terminal() || now - start_ < milliseconds(500) || now - last_ < milliseconds(100)) return false;
  last_ = now;
  return true;
}

void ProgressLine::show(std::string_view text) {
  if (!due()) return;
  winsize size{};
  const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  const std::size_t width = known ? size.ws_col - 1u : 79u;
  put(stderr, fmt::format("\r{}\x1b[K", text.substr(0, width)));
  std::fflush(stderr);
  shown_ = true;
}

void ProgressLine::show_bar(std::string_view label, double fraction) {
  constexpr std::size_t kWidth = 30;
  fraction = std::clamp(fraction, 0.0, 1.0);
  const auto filled = static_cast<std::size_t>(fraction * kWidth);
  show(fmt::format("{} [{}{}] {:3.0f} %", label, std::string(filled, '#'), std::string(kWidth - filled, ' '),
                   fraction * 100));
}

void ProgressLine::clear() {
  if (!shown_) return;
  put(stderr, "\r\x1b[K");
  std::fflush(stderr);
  shown_ = false;
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::string_view kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) value /= 1000, ++unit;
  if (unit == 0) return fmt::format("{} B", bytes);
  return fmt::format("{:.{}f} {}", value, value < 99.95 ? 1 : 0, kUnits[unit]);
}

}  // namespace unicorn
