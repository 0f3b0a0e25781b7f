#include "cli/line_editor.h"

#include <fmt/format.h>
#include <histedit.h>
#include <langinfo.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>

namespace unicorn {

namespace fs = std::filesystem;

namespace {

constexpr char kEscape = '\1';  // brackets what takes no room on the screen, in a prompt

// Both readers: lines that end in a backslash are one message.
class LineReader : public MessageReader {
 public:
  Input read() final {
    Input message{.kind = Input::Kind::message, .text = {}};
    for (bool first = true;; first = false) {
      Input line = read_line(first);
      if (line.kind == Input::Kind::interrupted) {
        line.was_empty = line.was_empty && first;
        return line;
      }
      if (line.kind == Input::Kind::end) return first ? line : message;  // what came before the end is a message
      message.text += line.text;
      if (!message.text.ends_with('\\')) return message;
      message.text.back() = '\n';
    }
  }

 private:
  virtual Input read_line(bool first) = 0;
};

class PipeReader final : public LineReader {
 public:
  void remember(const std::string&) override {}

 private:
  Input read_line(bool) override {
    Input line;
    int c = 0;
    while ((c = std::getc(stdin)) != EOF && c != '\n') line.text += static_cast<char>(c);
    if (c == EOF && line.text.empty()) return line;
    if (line.text.ends_with('\r')) line.text.pop_back();
    line.kind = Input::Kind::message;
    return line;
  }
};

class TerminalReader final : public LineReader {
 public:
  TerminalReader(fs::path history, bool colour) : history_file_(std::move(history)), colour_(colour) {
    // libedit reads what the locale says; outside any UTF-8 locale only ASCII could be typed.
    std::setlocale(LC_CTYPE, "");
    if (std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");

    output_ = isatty(STDOUT_FILENO) == 1 ? stdout : stderr;
    edit_ = el_init("unicorn", stdin, output_, stderr);
    el_set(edit_, EL_CLIENTDATA, this);
    el_set(edit_, EL_SIGNAL, 1);  // the terminal is put right when a signal stops or ends the program
    el_set(edit_, EL_PROMPT_ESC, &prompt, kEscape);
    el_set(edit_, EL_EDITOR, "emacs");
    open_history();
    bind_keys();
    el_source(edit_, nullptr);
  }
  ~TerminalReader() override {
    el_end(edit_);
    history_end(history_);
  }

  void remember(const std::string& message) override {
    HistEvent event{};
    history(history_, &event, H_ENTER, message.c_str());
    if (!history_file_.empty()) history(history_, &event, H_SAVE, history_file_.c_str());
  }

 private:
  Input read_line(bool first) override {
    first_ = first;
    interrupted_ = false;
    // Bracketed paste: the terminal marks what is pasted, so that its newlines do not send the message.
    write("\x1b[?2004h");
    el_set(edit_, EL_PREP_TERM, 1);  // before the prompt: libedit prints that first, and a key in between would be lost
    int n = 0;
    const char* text = nullptr;
    do {
      errno = 0;
      text = el_gets(edit_, &n);
    } while (text == nullptr && n < 0 && errno == EINTR);
    write("\x1b[?2004l");
    if (interrupted_) return {.kind = Input::Kind::interrupted, .text = {}, .was_empty = was_empty_};
    if (text == nullptr || n <= 0) {
      std::fputs("\n", output_);
      return {};
    }
    Input line{.kind = Input::Kind::message, .text = std::string(text, static_cast<std::size_t>(n))};
    if (line.text.ends_with('\n')) line.text.pop_back();
    return line;
  }

  void write(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), output_);
    std::fflush(output_);
  }

  void open_history() {
    history_ = history_init();
    HistEvent event{};
    history(history_, &event, H_SETSIZE, 1000);
    history(history_, &event, H_SETUNIQUE, 1);
    el_set(edit_, EL_HIST, &history, history_);
    if (history_file_.empty()) return;
    std::error_code error;
    fs::create_directories(history_file_.parent_path(), error);
    if (error)
      history_file_.clear();  // chatting works without
    else
      history(history_, &event, H_LOAD, history_file_.c_str());
  }

  void bind(const char* key, const char* function) { el_set(edit_, EL_BIND, key, function, nullptr); }

  void bind_keys() {
    // Ctrl-C and Ctrl-Z are keys while a line is edited, not signals: the first gives up the line. (Undefining the
    // terminal's interrupt character instead does not last: libedit takes it from the terminal again.)
    el_set(edit_, EL_SETTY, "-d", "-isig", nullptr);
    el_set(edit_, EL_ADDFN, "unicorn-interrupt", "give up this line", &on_interrupt);
    el_set(edit_, EL_ADDFN, "unicorn-suspend", "back to the shell", &on_suspend);
    el_set(edit_, EL_ADDFN, "unicorn-newline", "insert a newline", &on_newline);
    el_set(edit_, EL_ADDFN, "unicorn-paste", "insert what is pasted", &on_paste);
    bind("^C", "unicorn-interrupt");
    bind("^Z", "unicorn-suspend");
    bind("\\e^M", "unicorn-newline");
    bind("\\e^J", "unicorn-newline");
    bind("\\e[200~", "unicorn-paste");
    bind("^R", "em-inc-search-prev");
    bind("^W", "ed-delete-prev-word");
    bind("\\e[3~", "ed-delete-next-char");
    for (const char* home : {"\\e[H", "\\eOH", "\\e[1~", "\\e[7~"}) bind(home, "ed-move-to-beg");
    for (const char* end : {"\\e[F", "\\eOF", "\\e[4~", "\\e[8~"}) bind(end, "ed-move-to-end");
    for (const char* right : {"\\e[1;5C", "\\e[1;3C"}) bind(right, "em-next-word");
    for (const char* left : {"\\e[1;5D", "\\e[1;3D"}) bind(left, "ed-prev-word");
  }

  static TerminalReader& self(EditLine* edit) {
    void* data = nullptr;
    el_get(edit, EL_CLIENTDATA, &data);
    return *static_cast<TerminalReader*>(data);
  }

  static char* prompt(EditLine* edit) {
    TerminalReader& reader = self(edit);
    const std::string_view text = reader.first_ ? "> " : ". ";
    reader.prompt_ =
        reader.colour_ ? fmt::format("{0}\x1b[1;36m{0}{1}{0}\x1b[0m{0}", kEscape, text) : std::string(text);
    return reader.prompt_.data();
  }

  static unsigned char on_interrupt(EditLine* edit, int) {
    const LineInfo* line = el_line(edit);
    TerminalReader& reader = self(edit);
    reader.interrupted_ = true;
    reader.was_empty_ = line->buffer == line->lastchar;
    reader.write("^C\n");
    return CC_EOF;
  }

  static unsigned char on_suspend(EditLine* edit, int) {
    // libedit's own handler works once per line: past it, by hand.
    struct sigaction ordinary{}, handler{};
    ordinary.sa_handler = SIG_DFL;
    el_set(edit, EL_PREP_TERM, 0);
    sigaction(SIGTSTP, &ordinary, &handler);
    kill(0, SIGTSTP);  // the whole job, as the terminal would
    sigaction(SIGTSTP, &handler, nullptr);
    el_set(edit, EL_PREP_TERM, 1);
    return CC_REDISPLAY;
  }

  static unsigned char on_newline(EditLine* edit, int) { return el_insertstr(edit, "\n") == 0 ? CC_REFRESH : CC_ERROR; }

  // Everything up to "ESC [ 201 ~".
  static unsigned char on_paste(EditLine* edit, int) {
    constexpr std::string_view kEnd = "\x1b[201~";
    std::string text;
    char c = 0;
    while (!text.ends_with(kEnd) && el_getc(edit, &c) == 1) text += c == '\r' ? '\n' : c;
    if (text.ends_with(kEnd)) text.resize(text.size() - kEnd.size());
    std::string safe;
    for (const char t : text)
      if (t == '\n' || t == '\t' || static_cast<unsigned char>(t) >= 0x20) safe += t == '\t' ? ' ' : t;
    return el_insertstr(edit, safe.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
  }

  fs::path history_file_;
  const bool colour_;
  std::FILE* output_ = nullptr;
  EditLine* edit_ = nullptr;
  History* history_ = nullptr;
  std::string prompt_;
  bool first_ = true, interrupted_ = false, was_empty_ = false;
};

}  // namespace

std::unique_ptr<MessageReader> terminal_reader(const fs::path& history, bool colour) {
  return std::make_unique<TerminalReader>(history, colour);
}

std::unique_ptr<MessageReader> pipe_reader() { return std::make_unique<PipeReader>(); }

fs::path history_file() {
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  if (state != nullptr && *state == '/') return fs::path(state) / "unicorn/chat_history";
  if (home != nullptr && *home != '\0') return fs::path(home) / ".local/state/unicorn/chat_history";
  return {};
}

}  // namespace unicorn
