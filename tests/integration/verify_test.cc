// bdrctl verify is believed: it finds what differs, down to a bit, says nothing against rows that
// are only on their way, and repairs without losing what is written meanwhile.
#include <grpcpp/grpcpp.h>

#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "bdr/v1/admin.grpc.pb.h"
#include "tests/harness/load.h"
#include "tests/harness/temp_folder.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

// What these statements write no agent captures: they carry a foreign replication origin.
std::string BehindTheBack(const std::string& sql) {
  return absl::StrCat(
      "SELECT pg_replication_origin_create('planted') WHERE NOT EXISTS (SELECT FROM"
      " pg_replication_origin WHERE roname = 'planted');"
      "SELECT pg_replication_origin_session_setup('planted'); BEGIN;",
      sql, "; COMMIT; SELECT pg_replication_origin_session_reset()");
}

class VerifyTest : public ClusterTest {
 protected:
  struct Answer {
    int exit_code = 0;
    Json document;
    const Json& Table(const std::string& name) const {
      for (const Json& table : document["tables"]) {
        if (table["table"] == name) return table;
      }
      static const Json none;
      ADD_FAILURE() << name << " is not in " << document.dump(2);
      return none;
    }
  };
  Answer Verify(std::vector<std::string> arguments, absl::Duration most = absl::Minutes(2)) {
    std::vector<std::string> all = cluster_->BdrctlCommand();
    all.insert(all.end(), {"verify", "-o", "json"});
    all.insert(all.end(), arguments.begin(), arguments.end());
    const absl::StatusOr<harness::ProgramResult> run =
        harness::RunProgram({.argv = std::move(all)}, most);
    EXPECT_OK(run.status());
    if (!run.ok()) return {};
    Answer answer{.exit_code = run->exit_code, .document = Json::parse(run->out, nullptr, false)};
    EXPECT_FALSE(answer.document.is_discarded()) << run->out << run->err;
    return answer;
  }
  static std::vector<std::string> Keys(const Json& table) {
    std::vector<std::string> keys;
    for (const Json& row : table["keys"]) keys.push_back(row["key"]);
    return keys;
  }

  std::unique_ptr<v1::AgentAdmin::Stub> Stub(const std::string& node) {
    return v1::AgentAdmin::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", cluster_->agent_port(node)),
                            grpc::InsecureChannelCredentials()));
  }

  // The row with this key of a table in schema public, as a node has it.
  v1::RowImage ImageOn(const std::string& node, const std::string& table, const std::string& key) {
    v1::ExportRowsRequest wanted;
    wanted.set_schema("public");
    wanted.set_name(table);
    wanted.add_keys()->add_column(key);
    grpc::ClientContext context;
    v1::ExportRowsResponse response;
    const grpc::Status status = Stub(node)->ExportRows(&context, wanted, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.rows_size() == 1 ? response.rows(0) : v1::RowImage();
  }

  // Has a node make `image` of a row that stands there as `present`.
  v1::RepairRowsResponse::Outcome RepairOn(const std::string& node, const std::string& table,
                                           const v1::RowImage& image, const v1::RowImage& present) {
    v1::RepairRowsRequest request;
    request.set_schema("public");
    request.set_name(table);
    v1::RepairRowsRequest::Row* row = request.add_rows();
    *row->mutable_image() = image;
    row->set_present(present.present());
    row->set_hash(present.hash());
    row->set_version(present.version());
    grpc::ClientContext context;
    v1::RepairRowsResponse response;
    const grpc::Status status = Stub(node)->RepairRows(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.rows_size() == 1 ? response.rows(0).outcome() : v1::RepairRowsResponse::UNKNOWN;
  }

  // Three nodes; with `cut` n3 is cut off from the others.
  void StartCutOff(const std::string& schema, bool cut = true) {
    harness::ClusterOptions options;
    options.nodes.assign(3, {});
    options.proxies = true;
    options.schema_sql = schema;
    BDR_START_CLUSTER(std::move(options));
    if (cut) cluster_->Isolate("n3");
  }
  // So that it sees what became of the tables.
  void RestartAgent(const std::string& node) {
    ASSERT_OK(cluster_->agent(node).Terminate());
    ASSERT_NO_FATAL_FAILURE(StartAgent(node));
  }
  void StartAgent(const std::string& node) {
    ASSERT_OK(cluster_->StartAgent(node));
    ASSERT_OK(harness::WaitFor("the agent works", kDeadline, [&]() -> absl::StatusOr<bool> {
      grpc::ClientContext context;
      v1::GetPositionResponse position;
      return Stub(node)->GetPosition(&context, {}, &position).ok();
    }));
  }
};

constexpr char kSchema[] =
    "CREATE TYPE size AS ENUM ('small', 'large');"
    "CREATE TABLE big (id bigint PRIMARY KEY, data bytea, note text);"
    "INSERT INTO big SELECT i, decode(md5(i::text), 'hex'), 'n' || i"
    " FROM generate_series(1, 25000) i;"
    "CREATE TABLE pair (a text COLLATE \"C\", b numeric, v text, PRIMARY KEY (a, b));"
    "INSERT INTO pair SELECT 'a' || i % 7, i, 'v' FROM generate_series(1, 3000) i;"
    "CREATE TABLE word (w text PRIMARY KEY, s size);"
    "INSERT INTO word SELECT 'w\"\\,' || i, 'small' FROM generate_series(1, 2000) i;"
    "CREATE TABLE bag (line text);"
    "INSERT INTO bag SELECT 'line ' || i % 50 FROM generate_series(1, 500) i;"
    "CREATE TABLE made (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY,"
    " twice int GENERATED ALWAYS AS (id * 2) STORED, u text UNIQUE);"
    "INSERT INTO made (id, u) SELECT i, 'u' || i FROM generate_series(1, 100) i;";

TEST_F(VerifyTest, FindsPlantedDifferencesUnderLoadAndRepairsThem) {
  BDR_START_CLUSTER(3, absl::StrCat(harness::Load::Schema(), kSchema));
  harness::Load load(
      cluster_.get(),
      {.nodes = {}, .workers_per_node = 1, .hot_rows = 5, .pause = absl::Milliseconds(5)});
  ASSERT_OK(load.WaitForMore(50, kDeadline));
  // Rows that all nodes fight over are never called different, however often one looks.
  for (int look = 0; look < 3; ++look) {
    const Answer moving = Verify({"--timeout", "2s"});
    EXPECT_NE(moving.exit_code, 2) << moving.document.dump(2);
    EXPECT_EQ(moving.Table("public.big")["result"], "equal");
    EXPECT_EQ(moving.Table("public.big")["compared_by"], "key ranges");
  }

  // One bit; a row gone; a row too many; keys of several columns; values that need quoting.
  BDR_EXEC("n2", BehindTheBack("UPDATE big SET data = set_bit(data, 3, 1 - get_bit(data, 3))"
                               " WHERE id = 12345"));
  BDR_EXEC("n3", BehindTheBack("DELETE FROM big WHERE id = 777"));
  BDR_EXEC("n2", BehindTheBack("INSERT INTO pair VALUES ('a1', 0.5, 'extra')"));
  BDR_EXEC("n2", BehindTheBack("UPDATE pair SET v = NULL WHERE a = 'a3' AND b = 3"));
  BDR_EXEC("n3", BehindTheBack("UPDATE word SET s = 'large' WHERE w = 'w\"\\,42'"));
  BDR_EXEC("n2", BehindTheBack("DELETE FROM made WHERE id = 5; UPDATE made SET u = 'u5'"
                               " WHERE id = 6"));
  // While the others are written to.
  const Answer busy = Verify({"--timeout", "60s", "--show-rows", "--table", "public.big"});
  EXPECT_EQ(busy.exit_code, 2) << busy.document.dump(2);
  const Json& big = busy.Table("public.big");
  EXPECT_THAT(Keys(big), ::testing::UnorderedElementsAre("id='12345'", "id='777'"));
  for (const Json& row : big["keys"]) {
    if (row["key"] != "id='12345'") continue;
    EXPECT_EQ(row["columns"], Json::array({"data"}));
    EXPECT_NE(row["values"]["n1"]["data"], row["values"]["n2"]["data"]);
    EXPECT_EQ(row["values"]["n1"]["data"], row["values"]["n3"]["data"]);
  }
  load.Stop();
  const Answer found = Verify({"--timeout", "60s"});
  EXPECT_EQ(found.exit_code, 2) << found.document.dump(2);
  EXPECT_THAT(Keys(found.Table("public.pair")),
              ::testing::UnorderedElementsAre("a='a1', b='0.5'", "a='a3', b='3'"));
  EXPECT_THAT(Keys(found.Table("public.word")), ElementsAre("w='w\"\\,42'"));
  EXPECT_EQ(found.Table("public.bag")["result"], "equal");

  // Programs get the plan, and nothing is written before they say yes.
  const Answer plan = Verify({"--timeout", "60s", "--repair", "n1"});
  EXPECT_EQ(plan.exit_code, 2);
  EXPECT_EQ(plan.document["repair"].size(), 7u) << plan.document["repair"].dump(2);
  EXPECT_EQ(Value("n3", "SELECT count(*) FROM big WHERE id = 777"), "0");

  const Answer repaired = Verify({"--timeout", "60s", "--repair", "n1", "--yes"});
  EXPECT_EQ(repaired.exit_code, 0) << repaired.document.dump(2);
  EXPECT_EQ(repaired.document["repaired"], 7) << repaired.document["repair"].dump(2);
  ExpectEverywhere("SELECT count(*) FROM big WHERE id = 777", "1");
  ExpectEverywhere("SELECT count(*) FROM pair WHERE v = 'extra' OR v IS NULL", "0");
  ExpectEverywhere("SELECT u || n || '/' || twice FROM made WHERE id = 6", "u66/12");
  BDR_CONVERGE();
  EXPECT_OK(load.CheckNothingLostNorTwice());
  // And they go on as if nothing had been.
  BDR_EXEC("n3", "UPDATE big SET note = 'after' WHERE id IN (777, 12345)");
  BDR_EXEC("n2", "DELETE FROM made WHERE id IN (5, 6)");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM big WHERE note = 'after'", "2");
  const Answer again = Verify({"--timeout", "60s"});
  EXPECT_EQ(again.exit_code, 0) << again.document.dump(2);
}

TEST_F(VerifyTest, ARepairedRowHasTheVersionThatItHasElsewhereAndLosesNoNewerOne) {
  BDR_START_CLUSTER(2,
                    "CREATE TABLE t (id int PRIMARY KEY, v text);"
                    "INSERT INTO t SELECT i, 'old' FROM generate_series(1, 10) i");
  BDR_EXEC("n1", "UPDATE t SET v = 'true' WHERE id IN (1, 2)");
  BDR_CONVERGE();
  BDR_EXEC("n2", BehindTheBack("UPDATE t SET v = 'false' WHERE id = 1"));
  const Answer repaired = Verify({"--timeout", "60s", "--repair", "n1", "--yes"});
  EXPECT_EQ(repaired.exit_code, 0) << repaired.document.dump(2);
  ExpectEverywhere("SELECT v FROM t WHERE id = 1", "true");
  const std::string stamp = "SELECT pg_xact_commit_timestamp(xmin) FROM t WHERE id = 1";
  EXPECT_EQ(Value("n2", stamp), Value("n1", stamp));
  EXPECT_EQ(
      Value("n2",
            "SELECT substring(roname FROM '[a-z]+$') FROM pg_replication_origin WHERE roident = "
            "(SELECT (pg_xact_commit_timestamp_origin(xmin)).roident FROM t WHERE id = 1)"),
      "repair");

  // A plan that was made before the row was written again is not carried out.
  const v1::RowImage from = ImageOn("n1", "t", "2");
  const v1::RowImage planned = ImageOn("n2", "t", "2");
  EXPECT_EQ(from.stamp_us(), planned.stamp_us());
  EXPECT_EQ(from.origin_node(), 1u);
  BDR_EXEC("n2", BehindTheBack("UPDATE t SET v = v WHERE id = 2"));  // the same, written anew
  EXPECT_EQ(RepairOn("n2", "t", from, planned), v1::RepairRowsResponse::CHANGED);
  BDR_EXEC("n2", "UPDATE t SET v = 'newer' WHERE id = 2");
  EXPECT_EQ(RepairOn("n2", "t", from, ImageOn("n2", "t", "2")), v1::RepairRowsResponse::NEWER);
  BDR_CONVERGE();
  ExpectEverywhere("SELECT v FROM t WHERE id = 2", "newer");
}

// A node that was given a unique index too late knows nothing of what was claimed before. A row
// that is repaired there must unseat an older one that claims the same value and comes later, as it
// does elsewhere, even though it holds the value no longer by then.
TEST_F(VerifyTest, ARepairedRowClaimsItsUniqueValues) {
  const std::string index = "CREATE UNIQUE INDEX person_email ON person (lower(email))";
  StartCutOff("CREATE TABLE person (id int PRIMARY KEY, email text, note text);" + index);
  if (HasFatalFailure()) return;
  for (const char* node : {"n1", "n2", "n3"}) {
    ASSERT_OK(harness::WaitFor("the constraint counts", kDeadline, [&]() -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(const std::string log, harness::ReadFile(cluster_->agent_log(node)));
      return absl::StrContains(log, "state=compared_with_all");
    }));
  }
  // Without the constraint n2 keeps no claims. Nobody hears that it lacks it, or none would count.
  ASSERT_OK(cluster_->server().Terminate());
  const auto restart_with = [&](const std::string& sql) {
    ASSERT_OK(cluster_->agent("n2").Terminate());
    BDR_EXEC("n2", sql);
    ASSERT_NO_FATAL_FAILURE(StartAgent("n2"));
  };
  ASSERT_NO_FATAL_FAILURE(restart_with("DROP INDEX person_email"));
  BDR_EXEC("n3", "INSERT INTO person VALUES (3, 'Ann', 'older')");
  BDR_EXEC("n1", "INSERT INTO person VALUES (1, 'ann', 'newer')");
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT count(*) FROM person", "1", kDeadline));
  BDR_EXEC("n2", BehindTheBack("UPDATE person SET note = 'wrong'"));
  ASSERT_NO_FATAL_FAILURE(restart_with(index));
  EXPECT_EQ(RepairOn("n2", "person", ImageOn("n1", "person", "1"), ImageOn("n2", "person", "1")),
            v1::RepairRowsResponse::DONE);
  BDR_EXEC("n1", "UPDATE person SET email = 'bob' WHERE id = 1");
  ASSERT_OK(
      cluster_->WaitForValue("n2", "SELECT email FROM person WHERE id = 1", "bob", kDeadline));
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(id || ' ' || email || ' ' || note, ', ') FROM person",
                   "1 bob newer");
}

// What a row of a table that folds becomes with the next late change depends on its history, which
// is another one on each node if their rows once differed.
TEST_F(VerifyTest, ARowThatFoldsIsRepairedOnceItsChangesAreStable) {
  StartCutOff(
      "CREATE TABLE counter (id int PRIMARY KEY, n bigint NOT NULL);"
      "ALTER TABLE counter REPLICA IDENTITY FULL;"
      "INSERT INTO counter VALUES (1, 0);",
      /*cut=*/false);
  if (HasFatalFailure()) return;
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult set,
                       cluster_->Bdrctl({"table", "set-policy", "public.counter", "delta",
                                         "--columns", "n", "--wait", "60", "-o", "json"}));
  ASSERT_THAT(set.out, HasSubstr("\"in_force\": true")) << set.err;
  BDR_EXEC("n2", BehindTheBack("UPDATE counter SET n = 500"));
  cluster_->Isolate("n3");
  BDR_EXEC("n3", "UPDATE counter SET n = n + 1");
  BDR_EXEC("n1", "UPDATE counter SET n = n + 10");
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT n FROM counter", "510", kDeadline));
  EXPECT_EQ(RepairOn("n2", "counter", ImageOn("n1", "counter", "1"), ImageOn("n2", "counter", "1")),
            v1::RepairRowsResponse::HAS_HISTORY);
  EXPECT_EQ(Value("n2", "SELECT n FROM counter"), "510");
  cluster_->Heal();
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT n FROM counter", "511", kDeadline));
  const Answer repaired = Verify({"--timeout", "60s", "--repair", "n1", "--yes"});
  EXPECT_EQ(repaired.exit_code, 0) << repaired.document.dump(2);
  ExpectEverywhere("SELECT n FROM counter", "11");
  // And it folds on from there.
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n1", "UPDATE counter SET n = n + 100");
  BDR_EXEC("n2", "UPDATE counter SET n = n + 1000");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT n FROM counter", "1111");
}

// Takes minutes and some gigabytes, so it runs only where BDR_LONG_TESTS is set.
TEST_F(VerifyTest, FindsOneChangedBitInTenMillionRows) {
  if (std::getenv("BDR_LONG_TESTS") == nullptr) GTEST_SKIP() << "BDR_LONG_TESTS is not set";
  BDR_START_CLUSTER(2, "CREATE TABLE big (id bigint PRIMARY KEY, data bytea, note text)");
  constexpr int kRows = 10'000'000;
  constexpr int kAtOnce = 250'000;
  for (const std::string& node : cluster_->names()) {
    for (int from = 0; from < kRows; from += kAtOnce) {
      BDR_EXEC(node, BehindTheBack(absl::StrCat(
                         "INSERT INTO big SELECT i, decode(md5(i::text), 'hex'), 'note ' || i"
                         " FROM generate_series(",
                         from + 1, ", ", from + kAtOnce, ") i")));
    }
    BDR_EXEC(node, "ANALYZE big");
  }
  // Also of a machine that has other work to do.
  constexpr absl::Duration kMost = absl::Minutes(20);
  const absl::Time begun = absl::Now();
  const Answer equal = Verify({"--timeout", "60s"}, kMost);
  EXPECT_EQ(equal.exit_code, 0) << equal.document.dump(2);
  std::cerr << "verify of " << kRows << " equal rows on two nodes took " << (absl::Now() - begun)
            << "\n";
  BDR_EXEC("n2", BehindTheBack("UPDATE big SET data = set_bit(data, 77, 1 - get_bit(data, 77))"
                               " WHERE id = 7654321"));
  const absl::Time changed = absl::Now();
  const Answer found = Verify({"--timeout", "60s"}, kMost);
  std::cerr << "verify of " << kRows << " rows, one of them different, took "
            << (absl::Now() - changed) << "\n";
  ASSERT_EQ(found.exit_code, 2);
  EXPECT_THAT(Keys(found.Table("public.big")), ElementsAre("id='7654321'"));
}

TEST_F(VerifyTest, WhatHasNotArrivedIsNotCalledDifferent) {
  harness::ClusterOptions options;
  options.proxies = true;
  options.schema_sql = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)";
  BDR_START_CLUSTER(std::move(options));
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n1", "INSERT INTO t SELECT generate_series(1, 100)");
  const Answer cut = Verify({"--timeout", "1s"});
  EXPECT_EQ(cut.exit_code, 1) << cut.document.dump(2);
  EXPECT_EQ(cut.Table("public.t")["result"], "changing");
  EXPECT_THAT(cut.document["under_way"].dump(), HasSubstr("n2 has not applied what n1 committed"));
  cluster_->Heal();
  BDR_CONVERGE();
  EXPECT_EQ(Verify({"--timeout", "60s"}).exit_code, 0);
}

}  // namespace
}  // namespace bdr::integration
