// What is said of the process must be true of this one.
#include "base/process_metrics.h"

#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bdr {
namespace {

using ::testing::AllOf;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Lt;

// The value of a series without labels.
double Value(const std::string& text, const std::string& name) {
  const size_t at = text.find(absl::StrCat("\n", name, " "));
  double value = -1;
  if (at == std::string::npos) return value;
  const size_t begin = at + name.size() + 2;
  (void)absl::SimpleAtod(text.substr(begin, text.find('\n', begin) - begin), &value);
  return value;
}

TEST(ProcessMetricsTest, TheySpeakOfThisProcess) {
  Metrics metrics(ProcessMetrics());
  ShowProcess("bdr-test", "1.2.3", &metrics);
  const std::string before = metrics.Text();
  EXPECT_THAT(before, HasSubstr("bdr_build_info{program=\"bdr-test\",version=\"1.2.3\"} 1"));
  const double now = absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch());
  EXPECT_THAT(Value(before, "process_start_time_seconds"), AllOf(Gt(now - 3600), Lt(now + 2)));
  EXPECT_THAT(Value(before, "process_resident_memory_bytes"), AllOf(Gt(1e6), Lt(1e10)));
  EXPECT_GE(Value(before, "process_virtual_memory_bytes"),
            Value(before, "process_resident_memory_bytes"));
  EXPECT_GT(Value(before, "process_max_fds"), 2);

  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  const absl::Time until = absl::Now() + absl::Milliseconds(50);
  while (absl::Now() < until) {
  }
  ShowProcess("bdr-test", "1.2.3", &metrics);
  const std::string after = metrics.Text();
  close(fds[0]);
  close(fds[1]);
  EXPECT_EQ(Value(after, "process_open_fds"), Value(before, "process_open_fds") + 2);
  EXPECT_GT(Value(after, "process_cpu_seconds_total"), Value(before, "process_cpu_seconds_total"));
}

TEST(ProcessMetricsTest, CertificatesAreShownByFile) {
  Metrics metrics(ProcessMetrics());
  ShowCertificates({{"/etc/bdr/node.crt", absl::FromUnixSeconds(1800000000)}}, &metrics);
  EXPECT_THAT(metrics.Text(), HasSubstr("bdr_certificate_expiry_timestamp_seconds{file=\"/etc/bdr/"
                                        "node.crt\"} 1800000000"));
}

}  // namespace
}  // namespace bdr
