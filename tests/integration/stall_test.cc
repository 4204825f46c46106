// Apply that gets no further while changes wait is never "ok": status tells what it is doing, and
// since when, whatever the step is that hangs.
#include <unistd.h>

#include <fstream>
#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

struct Step {
  const char* hang_point;
  const char* named;
};
constexpr Step kSteps[] = {
    {"apply_gather", "looks for what may be applied"},
    {"apply_claims", "asks PostgreSQL which unique values the rows claim"},
    {"apply_keys", "waits for other groups that write the same rows"},
    {"apply_versions", "records row versions"},
    {"apply_writes", "writes rows"},
    {"apply_commit", "commits"},
};

class StallTest : public ClusterTest {
 protected:
  void WaitUntilNamed(const std::string& what, const std::function<void()>& write) {
    std::string last;
    ASSERT_OK(harness::WaitFor(absl::StrCat("status tells ", what), kDeadline,
                               [&]() -> absl::StatusOr<bool> {
                                 write();
                                 ASSIGN_OR_RETURN(const harness::ProgramResult status,
                                                  cluster_->Bdrctl({"status", "-o", "json"}));
                                 last = status.out;
                                 return status.exit_code == 1 &&
                                        absl::StrContains(status.out, "no progress for") &&
                                        absl::StrContains(status.out, what);
                               }))
        << last;
  }
};

TEST_F(StallTest, WhateverHangsIsNamedAndGoesOn) {
  ASSERT_OK_AND_ASSIGN(const auto folder, harness::TempFolder::Create());
  const auto file = [&folder](const Step& step) {
    return absl::StrCat(folder->path(), "/", step.hang_point);
  };
  std::vector<std::string> points;
  for (const Step& step : kSteps) points.push_back(absl::StrCat(step.hang_point, ":", file(step)));
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.schema_sql = "CREATE TABLE t (id int PRIMARY KEY, v text UNIQUE)";
  options.agent_config = "apply:\n  stall_warning: 500ms\n";
  options.agent_environment = {{"BDR_HANG_POINT", absl::StrJoin(points, ",")}};
  BDR_START_CLUSTER(std::move(options));
  int id = 0;
  for (const Step& step : kSteps) {
    SCOPED_TRACE(step.hang_point);
    std::ofstream(file(step)).close();
    // What comes while apply is behind that step already passes it; the next does not.
    WaitUntilNamed(step.named, [&] {
      ++id;
      BDR_EXEC("n1", absl::StrCat("INSERT INTO t VALUES (", id, ", 'v", id, "')"));
    });
    ASSERT_EQ(unlink(file(step).c_str()), 0);
    BDR_CONVERGE();
  }
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

}  // namespace
}  // namespace bdr::integration
