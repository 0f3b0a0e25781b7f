#include "core/result.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

namespace unicorn {
namespace {

Result<int> half_of(int n) {
  if (n % 2 != 0) return Error{ErrorCode::invalid_argument, std::to_string(n) + " is odd"};
  return n / 2;
}

Status check_even(int n) {
  UNICORN_TRY(half_of(n));
  return Ok{};
}

Result<int> quarter_of(int n) {
  UNICORN_ASSIGN(const int half, half_of(n));
  UNICORN_ASSIGN(const int quarter, half_of(half));  // twice in one scope
  return quarter;
}

TEST(Result, HoldsAValueOrAnError) {
  const Result<int> good = half_of(6);
  ASSERT_TRUE(good.ok());
  EXPECT_TRUE(static_cast<bool>(good));
  EXPECT_EQ(*good, 3);
  const Result<int> bad = half_of(7);
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(bad.error().message, "7 is odd");
}

TEST(Result, HandsOverMoveOnlyValues) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(5);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(**result, 5);
  const std::unique_ptr<int> taken = std::move(result).value();
  EXPECT_EQ(*taken, 5);
}

TEST(Result, TakesADerivedPointer) {
  struct Base {
    virtual ~Base() = default;
    virtual int id() const { return 1; }
  };
  struct Derived : Base {
    int id() const override { return 2; }
  };
  const auto make = []() -> Result<std::unique_ptr<Base>> { return std::make_unique<Derived>(); };
  const auto made = make();
  ASSERT_TRUE(made.ok());
  EXPECT_EQ((*made)->id(), 2);
}

TEST(Result, OfTheErrorTypeItselfIsNotNeededForText) {
  // A string converts to Result<std::string> as a value, not as an error.
  const Result<std::string> text = std::string("plain");
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, "plain");
}

TEST(Status, CarriesAnErrorThroughTry) {
  EXPECT_TRUE(check_even(4).ok());
  const Status status = check_even(5);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message, "5 is odd");
}

TEST(Status, AssignStopsAtTheFirstError) {
  EXPECT_EQ(*quarter_of(8), 2);
  EXPECT_EQ(quarter_of(6).error().message, "3 is odd");
  EXPECT_EQ(quarter_of(5).error().message, "5 is odd");
}

TEST(ResultDeathTest, ChecksWhoeverLooksAtTheWrongSide) {
  EXPECT_DEATH(half_of(7).value(), "check failed: ok\\(\\)");
  EXPECT_DEATH(static_cast<void>(half_of(6).error()), "check failed: !ok\\(\\)");
  EXPECT_DEATH(static_cast<void>(Status().error()), "check failed");
}

TEST(CheckDeathTest, NamesFileConditionAndDetail) {
  EXPECT_DEATH(UNICORN_CHECK_MSG(1 > 2, "one is less"), "result_test.cc:[0-9]+: check failed: 1 > 2: one is less");
}

TEST(ErrorCode, HasANameForEachCode) {
  for (int i = 0; i <= static_cast<int>(ErrorCode::device_lost); ++i)
    EXPECT_NE(error_code_name(static_cast<ErrorCode>(i)), "unknown") << i;
}

}  // namespace
}  // namespace unicorn
