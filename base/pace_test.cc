#include "base/pace.h"

#include <gmock/gmock.h>

namespace bdr {
namespace {

TEST(PaceTest, RestsKeepBothLimits) {
  EXPECT_EQ(Rest({}, 1000, absl::Seconds(1)), absl::ZeroDuration());
  EXPECT_EQ(Rest({.rows_per_second = 500}, 1000, absl::Seconds(1)), absl::Seconds(1));
  EXPECT_EQ(Rest({.rows_per_second = 500}, 1000, absl::Seconds(3)), absl::ZeroDuration());
  EXPECT_EQ(Rest({.load_percent = 25}, 1000, absl::Seconds(1)), absl::Seconds(3));
  EXPECT_EQ(Rest({.load_percent = 100}, 1000, absl::Seconds(1)), absl::ZeroDuration());
  EXPECT_EQ(Rest({.rows_per_second = 500, .load_percent = 10}, 1000, absl::Seconds(1)),
            absl::Seconds(9));
}

}  // namespace
}  // namespace bdr
