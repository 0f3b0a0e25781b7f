// Result<T> and Status: how everything below cli and server tells a failure (docs: style "Errors").
// A Result holds a value or an Error; both are [[nodiscard]]. Nothing here throws.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "core/check.h"

namespace unicorn {

enum class ErrorCode : std::uint8_t {
  invalid_argument,  // a flag, a request, a value out of its range
  not_found,         // a file, a model name, a tensor
  corrupt_file,      // the bytes contradict their format
  unsupported,       // understood, but nobody here can do it
  out_of_memory,     // refused before allocation, or the allocation failed
  io,                // the operating system said no
  context_full,      // the sequence has no room for more tokens
  cancelled,         // the caller asked to stop
  timeout,           // a deadline passed
  device_lost,       // the device is gone; its buffers with it
};

std::string_view error_code_name(ErrorCode code);

struct Error {
  ErrorCode code;
  std::string message;  // which thing, what was expected, what was found; no trailing newline
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
  // A derived unique_ptr becomes a Result of its base without a cast at the return statement.
  template <class U>
    requires(std::is_convertible_v<U &&, T> && !std::is_same_v<std::remove_cvref_t<U>, T> &&
             !std::is_same_v<std::remove_cvref_t<U>, Error> && !std::is_same_v<std::remove_cvref_t<U>, Result>)
  Result(U&& value) : state_(std::in_place_index<0>, std::forward<U>(value)) {}

  bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  // Precondition: ok().
  T& value() & {
    UNICORN_CHECK(ok());
    return std::get<0>(state_);
  }
  const T& value() const& {
    UNICORN_CHECK(ok());
    return std::get<0>(state_);
  }
  T&& value() && {
    UNICORN_CHECK(ok());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // Precondition: !ok().
  const Error& error() const& {
    UNICORN_CHECK(!ok());
    return std::get<1>(state_);
  }
  Error&& error() && {
    UNICORN_CHECK(!ok());
    return std::get<1>(std::move(state_));
  }

 private:
  std::variant<T, Error> state_;
};

struct Ok {};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Ok) {}
  Result(Error error) : failed_(true), error_(std::move(error)) {}

  bool ok() const noexcept { return !failed_; }
  explicit operator bool() const noexcept { return ok(); }
  const Error& error() const& {
    UNICORN_CHECK(!ok());
    return error_;
  }
  Error&& error() && {
    UNICORN_CHECK(!ok());
    return std::move(error_);
  }

 private:
  bool failed_ = false;
  Error error_{};
};

using Status = Result<void>;

}  // namespace unicorn

#define UNICORN_CONCAT_INNER(a, b) a##b
#define UNICORN_CONCAT(a, b) UNICORN_CONCAT_INNER(a, b)

// Returns the error of `expr` (a Status or Result) from the enclosing function, if it has one.
#define UNICORN_TRY(expr)                                                       \
  do {                                                                          \
    auto unicorn_try_status = (expr);                                           \
    if (!unicorn_try_status.ok()) return std::move(unicorn_try_status).error(); \
  } while (false)

// `UNICORN_ASSIGN(auto x, f());` declares x from f()'s value, or returns its error.
#define UNICORN_ASSIGN(decl, expr) UNICORN_ASSIGN_INNER(UNICORN_CONCAT(unicorn_result_, __LINE__), decl, expr)
#define UNICORN_ASSIGN_INNER(tmp, decl, expr)   \
  auto tmp = (expr);                            \
  if (!tmp.ok()) return std::move(tmp).error(); \
  decl = std::move(tmp).value()
