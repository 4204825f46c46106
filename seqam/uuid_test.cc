// UUIDs of version 7 are what RFC 9562 says, and rise on a node.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/testing.h"
#include "seqam/sequences_testing.h"
#include "tests/harness/fake_clock.h"
#include "tests/harness/postgres_test.h"
#include "tests/harness/temp_folder.h"

namespace bdr::seqam {
namespace {

using ::testing::MatchesRegex;

class UuidTest : public harness::PostgresTest {
 protected:
  static void SetUpTestSuite() {
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create("bdr-uuid"));
    ASSERT_OK_AND_ASSIGN(clock_, harness::FakeClock::Create(folder_->path() + "/clock"));
    ASSERT_OK_AND_ASSIGN(server_,
                         harness::PostgresServer::Create({.environment = clock_->environment()}));
    ASSERT_OK(MakeNode(*server_, "app"));
    // As where the script was run again.
    ASSERT_OK_AND_ASSIGN(const std::string script, pg_setup::SetupSql({.settings = false}));
    ASSERT_OK(server_->RunScript(script, "app"));
    ASSERT_OK(server_->Exec("CREATE ROLE nobody_special LOGIN", "app"));
  }
  static void TearDownTestSuite() {
    server_.reset();
    clock_.reset();
    folder_.reset();
  }
  static std::vector<std::string> Uuids(postgres::Connection& session, int count) {
    std::vector<std::string> uuids;
    const auto rows =
        session.Exec(absl::StrCat("SELECT bdr.uuid_v7() FROM generate_series(1, ", count, ")"));
    EXPECT_OK(rows);
    for (int row = 0; rows.ok() && row < rows->rows(); ++row) {
      uuids.emplace_back(rows->value(row, 0));
    }
    return uuids;
  }

  static inline std::unique_ptr<harness::TempFolder> folder_;
  static inline std::unique_ptr<harness::FakeClock> clock_;
};

TEST_F(UuidTest, IsOfVersionSevenWithItsTime) {
  ASSERT_OK_AND_ASSIGN(const auto session, server_->Connect("nobody_special", "app"));
  const std::vector<std::string> uuids = Uuids(*session, 10);
  ASSERT_EQ(uuids.size(), 10u);
  for (const std::string& uuid : uuids) {
    EXPECT_THAT(
        uuid, MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  }
  ASSERT_OK_AND_ASSIGN(const std::string age,
                       session->QueryValue("SELECT abs(extract(epoch FROM clock_timestamp() - "
                                           "bdr.uuid_v7_time(bdr.uuid_v7())))::float8"));
  double seconds = 0;
  ASSERT_TRUE(absl::SimpleAtod(age, &seconds));
  EXPECT_LT(seconds, 2);
}

TEST_F(UuidTest, RisesOnANodeWhileItsClockStepsBack) {
  ASSERT_OK_AND_ASSIGN(const auto one, server_->Connect("postgres", "app"));
  ASSERT_OK_AND_ASSIGN(const auto other, server_->Connect("postgres", "app"));
  std::string last;
  for (int round = 0; round < 100; ++round) {
    clock_->Set(absl::Seconds((round * 7919) % 40 - 20));
    for (postgres::Connection* session : {one.get(), other.get()}) {
      for (const std::string& uuid : Uuids(*session, 20)) {
        ASSERT_GT(uuid, last);
        last = uuid;
      }
    }
  }
  clock_->Set(absl::ZeroDuration());
}

// The random bits would hide it if time and count came twice.
TEST_F(UuidTest, TimeAndCountComeOnceOnANode) {
  std::vector<std::vector<std::string>> drawn(4);
  std::vector<std::thread> threads;
  for (auto& uuids : drawn) {
    threads.emplace_back([&uuids] {
      auto session = server_->Connect("postgres", "app");
      ASSERT_OK(session);
      for (int i = 0; i < 40; ++i) {
        for (const std::string& uuid : Uuids(**session, 100)) uuids.push_back(uuid.substr(0, 18));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<std::string> all;
  for (const auto& uuids : drawn) all.insert(uuids.begin(), uuids.end());
  EXPECT_EQ(all.size(), 16000u);
}

}  // namespace
}  // namespace bdr::seqam
