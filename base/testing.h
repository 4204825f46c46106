// What unit and integration tests say about absl::Status. Only tests include this.
#pragma once

#include <gtest/gtest.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"

namespace bdr::testing_internal {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& value) {
  return value.status();
}

struct IsOk {
  template <typename T>
  ::testing::AssertionResult operator()(const char* text, const T& value) const {
    const absl::Status& status = StatusOf(value);
    if (status.ok()) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << text << " is " << status;
  }
};

}  // namespace bdr::testing_internal

#define ASSERT_OK(expr) ASSERT_PRED_FORMAT1(::bdr::testing_internal::IsOk(), (expr))
#define EXPECT_OK(expr) EXPECT_PRED_FORMAT1(::bdr::testing_internal::IsOk(), (expr))

// ASSERT_OK_AND_ASSIGN(const int x, F()): x is the value, or the test ends with the status.
#define ASSERT_OK_AND_ASSIGN(lhs, expr) \
  ASSERT_OK_AND_ASSIGN_IMPL_(BDR_CONCAT_(status_or_, __LINE__), lhs, expr)
#define ASSERT_OK_AND_ASSIGN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                               \
  ASSERT_OK(tmp);                                  \
  lhs = *std::move(tmp)
