// Ctrl-C as a stop token. A thread waits for SIGINT, so that stopping runs no code in a signal handler.
#pragma once

#include <atomic>
#include <mutex>
#include <stop_token>
#include <thread>

namespace unicorn {

class Interrupt {
 public:
  enum class Second { ends_the_program, stops_again };  // what another Ctrl-C does while the first is being obeyed

  // Blocks SIGINT in the calling thread: make it before the threads that should inherit that. When SIGINT was ignored
  // (a shell's background job), it stays ignored. One at a time in a process.
  explicit Interrupt(Second second = Second::ends_the_program);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  std::stop_token token() const;  // of the work under way
  std::stop_token renew();  // forgets earlier Ctrl-Cs: the token of the next piece of work
  bool requested() const { return token().stop_requested(); }

 private:
  void watch();

  const Second second_;
  mutable std::mutex mutex_;
  std::stop_source source_;
  int signal_fd_ = -1, close_fd_ = -1;
  std::thread watcher_;
};

}  // namespace unicorn
