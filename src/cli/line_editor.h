// Reading messages: with line editing and history on a terminal (libedit), plainly from a pipe.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

namespace unicorn {

struct Input {
  enum class Kind { message, interrupted, end } kind = Kind::end;  // interrupted: Ctrl-C; end: Ctrl-D, end of file
  std::string text;  // without the final newline; may hold newlines
  bool was_empty = false;  // interrupted: nothing had been typed
};

class MessageReader {
 public:
  virtual ~MessageReader() = default;
  // A message goes on in the next line after a backslash; on a terminal also when pasted or after Alt-Enter.
  virtual Input read() = 0;
  virtual void remember(const std::string& message) = 0;  // in the history
};

// Keys as in ~/.editrc, Emacs style by default. The history is read from and kept in `history` (empty: nowhere).
std::unique_ptr<MessageReader> terminal_reader(const std::filesystem::path& history, bool colour);
std::unique_ptr<MessageReader> pipe_reader();

// $XDG_STATE_HOME/unicorn/chat_history, else ~/.local/state/unicorn/chat_history; empty without a home.
std::filesystem::path history_file();

}  // namespace unicorn
