// A change that comes between two looks must not wait for the next one, nor wake anybody twice.
#include "node-agent/waker.h"

#include <thread>

#include "gtest/gtest.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kForEver = absl::Hours(1);

TEST(WakerTest, AChangeBeforeTheWaitEndsIt) {
  Waker waker;
  waker.Changed();
  waker.Wait(kForEver);
  EXPECT_TRUE(waker.GoOn());
}

TEST(WakerTest, AChangeThatWasSeenWakesNobody) {
  Waker waker;
  waker.Changed();
  EXPECT_TRUE(waker.GoOn());
  const absl::Time before = SteadyNow();
  waker.Wait(absl::Milliseconds(20));
  EXPECT_GE(SteadyNow() - before, absl::Milliseconds(20));
}

TEST(WakerTest, AnotherThreadsChangeEndsAWait) {
  Waker waker;
  std::thread other([&] { waker.Changed(); });
  waker.Wait(kForEver);
  other.join();
  EXPECT_TRUE(waker.GoOn());
}

TEST(WakerTest, StopEndsThisWaitAndEveryLaterOne) {
  Waker waker;
  std::thread other([&] { waker.Stop(); });
  waker.Wait(kForEver);
  other.join();
  EXPECT_FALSE(waker.GoOn());
  waker.Wait(kForEver);
  EXPECT_FALSE(waker.GoOn());
}

}  // namespace
}  // namespace bdr::agent
