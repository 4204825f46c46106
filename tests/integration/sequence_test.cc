// Sequences of which no two nodes give out the same number.
#include <csignal>
#include <filesystem>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "tests/integration/cluster_fixture.h"
#include "tests/integration/drawers.h"

namespace bdr::integration {
namespace {

using ::testing::HasSubstr;

constexpr char kOrders[] = "CREATE TABLE orders (id serial PRIMARY KEY, at text NOT NULL)";

class SequenceTest : public ClusterTest {
 protected:
  std::vector<std::string> ConvertCommand(const std::string& sequence, const std::string& method) {
    std::vector<std::string> command = {"sequence", "convert", sequence, "--method", method};
    return cluster_->WithDatabases(std::move(command));
  }
  void Convert(const std::string& sequence, const std::string& method,
               const std::vector<std::string>& more = {}) {
    std::vector<std::string> command = ConvertCommand(sequence, method);
    command.insert(command.end(), more.begin(), more.end());
    ASSERT_OK_AND_ASSIGN(const harness::ProgramResult result, cluster_->Bdrctl(command));
    ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  }
  // Begins, and is killed after that step.
  void Cut(const std::string& sequence, const std::string& method, const std::string& after,
           const std::vector<std::string>& more = {}) {
    std::vector<std::string> command = ConvertCommand(sequence, method);
    command.insert(command.end(), more.begin(), more.end());
    ASSERT_OK_AND_ASSIGN(
        const harness::ProgramResult cut,
        cluster_->Bdrctl(command, {{"BDR_FAIL_POINT", absl::StrCat("conversion_", after)}}));
    ASSERT_EQ(cut.exit_code, 128 + SIGKILL) << after << cut.out << cut.err;
  }
  void WaitForStatus(const std::string& text) {
    std::string last;
    ASSERT_OK(harness::WaitFor(absl::StrCat("bdrctl status says \"", text, "\""), kDeadline,
                               [&]() -> absl::StatusOr<bool> {
                                 ASSIGN_OR_RETURN(const auto result, cluster_->Bdrctl({"status"}));
                                 last = result.out + result.err;
                                 return absl::StrContains(last, text);
                               }))
        << last;
  }
  // Everywhere the same rows, and so many; a number that came twice would have made them fewer.
  void ExpectRows(const std::string& table, int64_t rows) {
    Converge();
    ExpectEverywhere(absl::StrCat("SELECT count(*) FROM ", table), absl::StrCat(rows));
    ExpectEverywhere("SELECT count(*) FROM bdr.conflict_log", "0");
  }
};

TEST_F(SequenceTest, NodesDrawFromChunksOfTheirOwn) {
  BDR_START_CLUSTER(3, kOrders);
  BDR_EXEC("n1", "INSERT INTO orders (at) SELECT 'before' FROM generate_series(1, 100)");
  BDR_CONVERGE();
  ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", "galloc"));
  std::vector<std::thread> users;
  for (const std::string& node : cluster_->names()) {
    users.emplace_back([this, node] {
      for (int i = 0; i < 20; ++i) {
        BDR_EXEC(node, absl::StrCat("INSERT INTO orders (at) SELECT '", node,
                                    "' FROM generate_series(1, 1000)"));
      }
    });
  }
  for (std::thread& user : users) user.join();
  for (const char* level : {"REPEATABLE READ", "SERIALIZABLE"}) {
    BDR_EXEC("n2", absl::StrCat("BEGIN ISOLATION LEVEL ", level,
                                "; SELECT count(*) FROM orders; INSERT INTO orders (at) SELECT '",
                                level, "' FROM generate_series(1, 30000); COMMIT"));
  }
  ASSERT_NO_FATAL_FAILURE(ExpectRows("orders", 100 + 60000 + 60000));
  EXPECT_EQ(Value("n1", "SELECT bdr.nextval('orders_id_seq') > 100"), "t");

  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult list, cluster_->Bdrctl({"sequence", "list"}));
  EXPECT_EQ(list.exit_code, 0);
  EXPECT_THAT(list.out, HasSubstr("public.orders_id_seq"));
  EXPECT_THAT(list.out, HasSubstr("galloc"));
}

// Users draw on every node while everything that can be killed is. Every id that anybody was told
// is gathered where it was told.
TEST_F(SequenceTest, KilledPartsGiveNoNumberTwice) {
  BDR_START_CLUSTER(3, absl::StrCat(kOrders,
                                    "; CREATE TABLE small (id smallserial PRIMARY KEY,"
                                    " at text)"));
  ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", "galloc"));
  ASSERT_NO_FATAL_FAILURE(Convert("public.small_id_seq", "galloc"));
  Drawers drawers(cluster_.get(),
                  "INSERT INTO orders (at) SELECT 'x' FROM generate_series(1, 100) "
                  "RETURNING id");
  for (int round = 0; round < 2; ++round) {
    ASSERT_OK(drawers.WaitForMore(3000));
    cluster_->server().Kill9();
    ASSERT_OK(drawers.WaitForMore(3000)) << "the reserve lasts";
    ASSERT_OK(cluster_->StartServer());
    cluster_->agent("n1").Kill9();
    ASSERT_OK(drawers.WaitForMore(3000));
    ASSERT_OK(cluster_->postgres("n2").Kill9());
    ASSERT_OK(cluster_->StartAgent("n1"));
    ASSERT_OK(cluster_->postgres("n2").Start());
    BDR_EXEC("n3", "INSERT INTO small (at) SELECT 'x' FROM generate_series(1, 50)");
  }
  ASSERT_OK(drawers.WaitForMore(3000));
  const std::vector<int64_t> ids = drawers.Stop();
  EXPECT_EQ(std::set<int64_t>(ids.begin(), ids.end()).size(), ids.size()) << "told twice";
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM bdr.conflict_log", "0");
  ExpectEverywhere(absl::StrCat("SELECT count(*) FROM unnest('{", absl::StrJoin(ids, ","),
                                "}'::bigint[]) AS t (id) WHERE id NOT IN (SELECT id FROM orders)"),
                   "0");
  ExpectEverywhere("SELECT count(*) FROM small", "100");
}

// Without bdr-server the reserve lasts; then whoever draws is told what to do.
TEST_F(SequenceTest, AnEmptyReserveIsSaid) {
  BDR_START_CLUSTER(2, "CREATE TABLE small (id smallserial PRIMARY KEY, at text)");
  ASSERT_NO_FATAL_FAILURE(Convert("public.small_id_seq", "galloc"));
  BDR_EXEC("n1", "INSERT INTO small (at) VALUES ('x')");
  cluster_->server().Kill9();
  const absl::Status none =
      cluster_->Exec("n1",
                     "SET bdr.sequence_timeout = '300ms';"
                     "INSERT INTO small (at) SELECT 'x' FROM generate_series(1, 1000)");
  EXPECT_THAT(none.message(), HasSubstr("no ids are left for sequence \"small_id_seq\""));
  EXPECT_THAT(none.message(), HasSubstr("bdr-server"));
  ASSERT_OK(cluster_->StartServer());
  BDR_EXEC("n1", "INSERT INTO small (at) SELECT 'x' FROM generate_series(1, 1000)");
  ASSERT_NO_FATAL_FAILURE(ExpectRows("small", 1001));
  // The type ends before the numbers of all nodes do.
  const absl::Status exhausted =
      cluster_->Exec("n2",
                     "SET bdr.sequence_timeout = '1s';"
                     "INSERT INTO small (at) SELECT 'x' FROM generate_series(1, 32000)");
  EXPECT_FALSE(exhausted.ok());
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("numbers left up to 32767"));
}

// A user of node n1 writes all the time; the conversion is cut off at each of its steps, and goes
// on.
TEST_F(SequenceTest, AConversionUnderLoadMayStopAnywhere) {
  BDR_START_CLUSTER(2, kOrders);
  Drawers drawers(cluster_.get(), "INSERT INTO orders (at) VALUES ('x') RETURNING id",
                  {.nodes = {"n1"}});
  ASSERT_OK(drawers.WaitForMore(100));
  for (const char* after : {"capped", "numbered", "first_node"}) {
    ASSERT_NO_FATAL_FAILURE(Cut("public.orders_id_seq", "galloc", after));
    ASSERT_OK(drawers.WaitForMore(100)) << after;
  }
  ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", "galloc"));
  ASSERT_OK(drawers.WaitForMore(100));
  BDR_EXEC("n2", "INSERT INTO orders (at) SELECT 'y' FROM generate_series(1, 1000)");
  const std::vector<int64_t> ids = drawers.Stop();
  EXPECT_THAT(drawers.errors(), ::testing::IsEmpty());
  ASSERT_NO_FATAL_FAILURE(ExpectRows("orders", static_cast<int64_t>(ids.size()) + 1000));

  ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", "local"));
  ExpectEverywhere(
      "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid ="
      " 'orders'::regclass AND adnum = 1",
      "nextval('orders_id_seq'::regclass)");
  ExpectEverywhere(
      "SELECT seqtypid::regtype || ' ' || seqmin || ' ' || seqmax FROM pg_sequence"
      " WHERE seqrelid = 'orders_id_seq'::regclass",
      "integer 1 2147483647");
  BDR_EXEC("n1", "INSERT INTO orders (at) VALUES ('z')");
  ExpectEverywhere(
      "SELECT count(*) FROM pg_class WHERE relnamespace = 'bdr'::regnamespace AND"
      " relname ~ '^sequence_'  AND relkind = 'S'",
      "0");
}

// bdr-server loses all that it knew of what was granted: the agents know.
TEST_F(SequenceTest, ALostServerGrantsNothingTwice) {
  BDR_START_CLUSTER(2, kOrders);
  ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", "galloc"));
  for (const std::string& node : cluster_->names()) {
    BDR_EXEC(node, "INSERT INTO orders (at) SELECT 'x' FROM generate_series(1, 30000)");
  }
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  cluster_->server().Kill9();
  const std::string folder = cluster_->folder() + "/server";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  std::filesystem::permissions(folder, std::filesystem::perms::owner_all);
  ASSERT_OK(cluster_->StartServer());
  ASSERT_OK(harness::WaitFor("the cluster is rebuilt", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const auto result, cluster_->Bdrctl({"cluster", "init", "--from-agents"}));
    return result.exit_code == 0;
  }));
  for (const std::string& node : cluster_->names()) {
    BDR_EXEC(node, "INSERT INTO orders (at) SELECT 'y' FROM generate_series(1, 100000)");
  }
  ASSERT_NO_FATAL_FAILURE(ExpectRows("orders", 260000));
}

// The method needs no right that nextval() does not: a plain owner, and a user with USAGE alone. An
// identity column becomes one again.
TEST_F(SequenceTest, PlainUsersDrawAndIdentitiesComeBack) {
  BDR_START_CLUSTER(2,
                    "CREATE ROLE shop LOGIN; CREATE ROLE clerk LOGIN; GRANT CREATE, USAGE ON "
                    "SCHEMA public TO shop;"
                    "SET ROLE shop; CREATE TABLE \"Item\" (\"Id\" bigint GENERATED ALWAYS AS "
                    "IDENTITY PRIMARY KEY,"
                    " at text); GRANT INSERT, SELECT ON \"Item\" TO clerk; RESET ROLE");
  BDR_EXEC("n1", "INSERT INTO \"Item\" (at) SELECT 'x' FROM generate_series(1, 10)");
  BDR_CONVERGE();
  ASSERT_NO_FATAL_FAILURE(Convert("public.\"Item_Id_seq\"", "galloc"));
  for (const std::string& node : cluster_->names()) {
    BDR_EXEC(node,
             "GRANT USAGE ON SEQUENCE \"Item_Id_seq\" TO clerk;"
             "SET ROLE clerk; INSERT INTO \"Item\" (at) SELECT 'y' FROM generate_series(1, 100)");
  }
  ASSERT_NO_FATAL_FAILURE(ExpectRows("\"Item\"", 210));
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));  // its owner's default is nobody's code
  // Drawn past the method: nobody else's number either.
  std::set<std::string> native;
  for (const std::string& node : cluster_->names()) {
    native.insert(Value(node, "SELECT nextval('\"Item_Id_seq\"')"));
  }
  EXPECT_EQ(native.size(), 2u);
  EXPECT_THAT(cluster_->Exec("n1", "SELECT setval('\"Item_Id_seq\"', 1)").message(),
              HasSubstr("out of bounds"));

  ASSERT_NO_FATAL_FAILURE(Convert("public.\"Item_Id_seq\"", "local"));
  ExpectEverywhere(
      "SELECT attidentity FROM pg_attribute WHERE attrelid = '\"Item\"'::regclass AND"
      " attname = 'Id'",
      "a");
  BDR_EXEC("n1", "SET ROLE shop; INSERT INTO \"Item\" (at) VALUES ('z')");
  ASSERT_NO_FATAL_FAILURE(ExpectRows("\"Item\"", 211));
}

// From method to method while both nodes write.
TEST_F(SequenceTest, EveryMethodKeepsNodesApart) {
  BDR_START_CLUSTER(2, "CREATE TABLE orders (id bigserial PRIMARY KEY, at text NOT NULL)");
  ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", "stepped", {"--slots", "4"}));
  Drawers drawers(cluster_.get(), "INSERT INTO orders (at) VALUES ('x') RETURNING id");
  ASSERT_OK(drawers.WaitForMore(200));
  ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", "stepped", {"--slots", "8"}));
  ExpectEverywhere(
      "SELECT seqincrement FROM pg_sequence WHERE seqrelid = 'orders_id_seq'::regclass", "8");
  for (const char* method : {"stepped_blocks", "galloc", "snowflake"}) {
    ASSERT_OK(drawers.WaitForMore(200));
    ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", method));
    ExpectEverywhere("SELECT method FROM bdr.sequence", method);
  }
  ASSERT_OK(drawers.WaitForMore(200));
  const std::vector<int64_t> ids = drawers.Stop();
  EXPECT_THAT(drawers.errors(), ::testing::IsEmpty());
  ASSERT_NO_FATAL_FAILURE(ExpectRows("orders", static_cast<int64_t>(ids.size())));
  EXPECT_EQ(Value("n1", "SELECT bdr.snowflake_node(bdr.nextval('orders_id_seq'))"), "1");
}

// A conversion is given up for the method that the nodes have: its limit goes, and there may be
// more slots again.
TEST_F(SequenceTest, AConversionThatWasGivenUpLeavesNoLimit) {
  BDR_START_CLUSTER(2, "CREATE TABLE orders (id bigserial PRIMARY KEY, at text NOT NULL)");
  const std::vector<std::string> few = {"--slots", "4"};
  const std::vector<std::string> more = {"--slots", "8"};
  ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", "stepped", few));
  Drawers drawers(cluster_.get(), "INSERT INTO orders (at) VALUES ('x') RETURNING id",
                  {.pause = absl::Milliseconds(5)});
  for (const char* method : {"stepped", "stepped_blocks", "snowflake"}) {
    const bool slots = absl::StartsWith(method, "stepped");
    ASSERT_NO_FATAL_FAILURE(
        Convert("public.orders_id_seq", method, slots ? few : std::vector<std::string>()));
    for (const char* after : {"capped", "numbered"}) {
      ASSERT_NO_FATAL_FAILURE(Cut("public.orders_id_seq", "local", after));
      ASSERT_OK(drawers.WaitForMore(50)) << after;
      ExpectEverywhere("SELECT count(*) FROM bdr.sequence_cap", "1");
      ASSERT_NO_FATAL_FAILURE(
          Convert("public.orders_id_seq", method, slots ? few : std::vector<std::string>()));
      ExpectEverywhere("SELECT count(*) FROM bdr.sequence_cap", "0");
      ExpectEverywhere("SELECT method FROM bdr.sequence", method);
      ASSERT_OK(drawers.WaitForMore(50)) << after;
    }
    if (!slots) continue;
    ASSERT_NO_FATAL_FAILURE(Cut("public.orders_id_seq", method, "capped", more));
    ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", method, few));
    // Far more than the limits left room for.
    for (const std::string& node : cluster_->names()) {
      BDR_EXEC(node, "SELECT count(*) FROM bdr.reserve('orders_id_seq', 100000)");
    }
    ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", method, more));
  }
  const std::vector<int64_t> ids = drawers.Stop();
  EXPECT_EQ(std::set<int64_t>(ids.begin(), ids.end()).size(), ids.size()) << "told twice";
  EXPECT_THAT(drawers.errors(), ::testing::IsEmpty());
  ASSERT_NO_FATAL_FAILURE(ExpectRows("orders", static_cast<int64_t>(ids.size())));
}

// What an application calls itself goes by the method as well.
TEST_F(SequenceTest, RolesThatCallNextvalAreIntercepted) {
  BDR_START_CLUSTER(2, absl::StrCat(kOrders,
                                    "; CREATE ROLE app LOGIN; GRANT ALL ON orders,"
                                    " orders_id_seq TO app; CREATE SEQUENCE other;"
                                    " GRANT ALL ON other TO app"));
  ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", "galloc"));
  std::vector<std::string> command = {"sequence", "intercept", "app"};
  command = cluster_->WithDatabases(std::move(command));
  // What the role has put into its own path runs nothing as the administrator.
  BDR_EXEC("n2",
           "SET ROLE app; SELECT set_config('search_path',"
           " 'public;ALTER/**/ROLE/**/app/**/SUPERUSER;--', false);"
           " ALTER ROLE app SET search_path FROM CURRENT");
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK_AND_ASSIGN(const harness::ProgramResult result, cluster_->Bdrctl(command));
    ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
    EXPECT_EQ(Value("n2", "SELECT rolsuper FROM pg_roles WHERE rolname = 'app'"), "f");
    if (i > 0) continue;
    BDR_EXEC("n2", "ALTER ROLE app IN DATABASE app RESET ALL; ALTER ROLE app RESET ALL");
  }
  for (const std::string& node : cluster_->names()) {
    ASSERT_OK_AND_ASSIGN(const auto app,
                         postgres::Connection::Connect({.conninfo = cluster_->conninfo(node, "app"),
                                                        .application_name = "app",
                                                        .users_settings = true}));
    ASSERT_OK_AND_ASSIGN(const std::string id, app->QueryValue("SELECT nextval('orders_id_seq')"));
    EXPECT_OK(app->ExecParams("INSERT INTO orders VALUES ($1, 'app')", {{{.data = id}}}).status());
    EXPECT_EQ(*app->QueryValue("SELECT currval('orders_id_seq')"), id);
    EXPECT_EQ(*app->QueryValue("SELECT nextval('other')"), "1");
    EXPECT_EQ(*app->QueryValue("SELECT lastval()"), "1");
  }
  ASSERT_NO_FATAL_FAILURE(ExpectRows("orders", 2));
  command.push_back("--off");
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult off, cluster_->Bdrctl(command));
  EXPECT_THAT(off.out, HasSubstr("search_path \"$user\", public"));
}

// Somebody keeps a lock on one sequence, and takes the agent's right to it away: the others go on,
// status says it, and the agent can still be stopped.
TEST_F(SequenceTest, OneSequenceThatCannotBeReadHoldsUpNoOther) {
  BDR_START_CLUSTER(2, absl::StrCat(kOrders, "; CREATE TABLE mine (id serial PRIMARY KEY)"));
  ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", "galloc"));
  ASSERT_NO_FATAL_FAILURE(Convert("public.mine_id_seq", "galloc"));
  BDR_EXEC("n1", "INSERT INTO mine DEFAULT VALUES");
  ASSERT_OK_AND_ASSIGN(const auto owner, cluster_->Connect("n1"));
  ASSERT_OK(owner->Exec("BEGIN; ALTER SEQUENCE mine_id_seq CACHE 1").status());
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("sequence public.mine_id_seq has"));
  BDR_EXEC("n1", "INSERT INTO orders (at) SELECT 'x' FROM generate_series(1, 100000)");
  ASSERT_OK(cluster_->agent("n1").Terminate());
  ASSERT_OK(cluster_->StartAgent("n1"));
  ASSERT_OK(owner->Exec("ROLLBACK").status());
  BDR_EXEC("n1", "INSERT INTO mine SELECT FROM generate_series(1, 100000)");
  ASSERT_NO_FATAL_FAILURE(ExpectRows("mine", 100001));
}

// The table is dropped and made again: the sequence of its name is another.
TEST_F(SequenceTest, ATableThatWasMadeAgainIsConvertedAnew) {
  BDR_START_CLUSTER(2, kOrders);
  ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", "galloc"));
  BDR_EXEC("n1", "INSERT INTO orders (at) VALUES ('x')");
  BDR_CONVERGE();
  for (const std::string& node : cluster_->names()) {
    BDR_EXEC(node,
             absl::StrCat("DROP TABLE orders; ", kOrders, "; SELECT bdr.sync_publications()"));
  }
  BDR_EXEC("n1", "INSERT INTO orders (id, at) VALUES (5000000, 'high')");
  BDR_CONVERGE();
  ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", "galloc"));
  for (const std::string& node : cluster_->names()) {
    BDR_EXEC(node, "INSERT INTO orders (at) SELECT 'y' FROM generate_series(1, 1000)");
  }
  ASSERT_NO_FATAL_FAILURE(ExpectRows("orders", 2001));
  EXPECT_EQ(Value("n1", "SELECT min(id) >= 5000000 FROM orders"), "t");
}

// One node's table is made anew by hand: it counts for itself again, which is said until the
// conversion was run once more.
TEST_F(SequenceTest, ANodeThatIsNotConvertedIsSaid) {
  BDR_START_CLUSTER(2, kOrders);
  ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", "galloc"));
  BDR_EXEC("n2", absl::StrCat("DROP TABLE orders; ", kOrders,
                              "; SELECT bdr.sync_publications();"
                              " SELECT bdr.drop_registers()"));
  ASSERT_NO_FATAL_FAILURE(WaitForStatus("public.orders_id_seq: run \"bdrctl sequence convert\""));
  ASSERT_NO_FATAL_FAILURE(Convert("public.orders_id_seq", "galloc"));
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  for (const std::string& node : cluster_->names()) {
    BDR_EXEC(node, "INSERT INTO orders (at) SELECT 'y' FROM generate_series(1, 1000)");
  }
  ASSERT_NO_FATAL_FAILURE(ExpectRows("orders", 2000));
}

}  // namespace
}  // namespace bdr::integration
