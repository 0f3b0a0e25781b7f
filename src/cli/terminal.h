// Talking to people: messages and progress on stderr, text on stdout.
#pragma once

#include <fmt/core.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>

#include "core/json.h"
#include "core/result.h"

namespace unicorn {

enum ExitCode : int { kExitOk = 0, kExitError = 1, kExitUsage = 2, kExitInterrupted = 130 };

bool stdin_is_terminal();
bool stdout_is_terminal();
bool stderr_is_terminal();
bool use_colour();  // stdout is a terminal that has colours, and NO_COLOR (no-color.org) is unset

// "unicorn: <message>" on stderr. Returns the exit code that goes with the error.
int fail(const Error& error);
int fail_usage(std::string_view message);

void put(std::FILE* file, std::string_view text);  // never throws, unlike fmt::print; finish_output() tells of failures

template <class... Args>
void print(fmt::format_string<Args...> format, Args&&... args) {  // on stdout
  put(stdout, fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
void note(fmt::format_string<Args...> format, Args&&... args) {  // one line on stderr
  put(stderr, fmt::format(format, std::forward<Args>(args)...) + '\n');
}

// Writes to stdout at once. What a model says can hold anything: on a terminal, control characters are shown instead
// of obeyed. False when stdout is gone (the reason to stop).
bool write_text(std::string_view text);
void write_json(const Json& json);  // one line
std::string shown_text(std::string_view text);  // control characters but newline and tab as U+FFFD

// Flushes stdout; a full disk behind it turns kExitOk into kExitError, with a message.
int finish_output(int exit_code);

// A line on stderr that is rewritten in place: only on a terminal, only when the work takes longer than half a second.
class ProgressLine {
 public:
  ProgressLine() : start_(std::chrono::steady_clock::now()) {}
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void show(std::string_view text);
  void show_bar(std::string_view label, double fraction);  // "label [#####     ] 50 %"
  void clear();

 private:
  bool due();
  std::chrono::steady_clock::time_point start_, last_{};
  bool shown_ = false;
};

std::string human_bytes(std::uint64_t bytes);  // "4.2 GB", units of 1000

}  // namespace unicorn
