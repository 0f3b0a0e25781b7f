#include "cli/interrupt.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>

#include "cli/terminal.h"
#include "core/check.h"

namespace unicorn {

namespace {

sigset_t only_sigint() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

Interrupt::Interrupt(Second second) : second_(second) {
  struct sigaction action{};
  sigaction(SIGINT, nullptr, &action);
  if (action.sa_handler == SIG_IGN) return;
  const sigset_t set = only_sigint();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal_fd_ = signalfd(-1, &set, SFD_CLOEXEC);
  close_fd_ = eventfd(0, EFD_CLOEXEC);
  UNICORN_CHECK(signal_fd_ >= 0 && close_fd_ >= 0);
  watcher_ = std::thread([this] { watch(); });
}

Interrupt::~Interrupt() {
  if (!watcher_.joinable()) return;
  const std::uint64_t one = 1;
  while (::write(close_fd_, &one, sizeof one) < 0 && errno == EINTR) continue;
  watcher_.join();
  ::close(signal_fd_);
  ::close(close_fd_);
  const sigset_t set = only_sigint();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

std::stop_token Interrupt::token() const {
  const std::lock_guard lock(mutex_);
  return source_.get_token();
}

std::stop_token Interrupt::renew() {
  const std::lock_guard lock(mutex_);
  if (source_.stop_requested()) source_ = std::stop_source();
  return source_.get_token();
}

void Interrupt::watch() {
  while (true) {
    pollfd fds[] = {{signal_fd_, POLLIN, 0}, {close_fd_, POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0) continue;  // EINTR
    if (fds[1].revents != 0) return;
    signalfd_siginfo info{};
    if (::read(signal_fd_, &info, sizeof info) != sizeof info) continue;
    std::stop_source source;
    {
      const std::lock_guard lock(mutex_);
      source = source_;
    }
    if (!source.request_stop() && second_ == Second::ends_the_program) ::_exit(kExitInterrupted);
  }
}

}  // namespace unicorn
