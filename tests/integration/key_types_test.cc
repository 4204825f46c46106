// Keys of every type that can be one: rows are found by what is equal to PostgreSQL, however it is
// written. A table whose key no node can find a row by is left out, loudly, and stops nobody.
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

// A key as two nodes may write it, and another one.
struct KeyType {
  std::string table, type, one, same, other;
};

const std::vector<KeyType>& KeyTypes() {
  static const auto* const types = new std::vector<KeyType>{
      {"k_interval", "interval", "1 month", "30 days", "31 days"},
      {"k_timetz", "timetz", "12:00+01", "12:00:00+01", "11:00+00"},
      {"k_jsonb", "jsonb", R"({"a": 1.0, "b": [2]})", R"({"b": [2.00], "a": 1})", R"({"a": 1})"},
      {"k_int4range", "int4range", "[1,3)", "[1,2]", "empty"},
      {"k_numrange", "numrange", "[1,2)", "[1.0,2.00)", "(,2)"},
      {"k_multirange", "nummultirange", "{[1,2)}", "{[1.0,2)}", "{}"},
      {"k_xid8", "xid8", "7", "7", "18446744073709551615"},
      {"k_tid", "tid", "(0,1)", "(0,1)", "(1,0)"},
      {"k_tsvector", "tsvector", "a b", "b a", "a:1 b"},
      {"k_array", "ints", "{1,2}", "{1, 2}", "[2:3]={1,2}"},
      {"k_pair_range", "pair_range", R"x(["(1.0,ok,{a})",))x", R"x(["(1,ok,{A})",))x", "empty"},
      {"k_citext", "citext", "Grüße", "GRÜßE", "x"},
      {"k_citext_domain", "email", "A@example.org", "a@EXAMPLE.org", "b@example.org"},
      {"k_hstore", "hstore", "a=>1, b=>2", "b=>2, a=>1", ""},
      {"k_ltree", "ltree", "a.b", "a.b", "a.B"},
  };
  return *types;
}

class KeyTypesTest : public ClusterTest {
 protected:
  static harness::ClusterOptions Options() {
    harness::ClusterOptions options;
    options.nodes.assign(2, {});
    options.proxies = true;
    // User types have other OIDs on each node.
    options.nodes[0].first_sql = "CREATE TYPE other AS ENUM ('x'); CREATE DOMAIN other2 AS text;";
    options.schema_sql =
        "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE EXTENSION hstore SCHEMA "
        "ext;"
        "CREATE EXTENSION ltree SCHEMA ext; SET search_path = public, ext;"
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN ints AS int[];"
        "CREATE DOMAIN email AS citext CHECK (VALUE ~ '@');"
        "CREATE TYPE pair AS (a numeric, m mood, c citext[]);"
        "CREATE TYPE pair_range AS RANGE (subtype = pair);"
        "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = "
        "false);"
        "ALTER DATABASE app SET search_path = public, ext;";
    for (const KeyType& key : KeyTypes()) {
      absl::StrAppend(&options.schema_sql, "CREATE TABLE ", key.table, " (k ", key.type,
                      " PRIMARY KEY, n int);");
    }
    return options;
  }

  // On `node`, with @ for the table, :one, :same and :other for keys of it.
  void All(const std::string& node, const std::string& sql) {
    for (const KeyType& key : KeyTypes()) {
      const auto value = [&key](const std::string& text) {
        return absl::StrCat("'", text, "'::", key.type);
      };
      BDR_EXEC(node, absl::StrReplaceAll(sql, {{"@", key.table},
                                               {":one", value(key.one)},
                                               {":same", value(key.same)},
                                               {":other", value(key.other)}}));
    }
  }
  void ExpectAll(const std::string& sql, const std::string& value) {
    for (const KeyType& key : KeyTypes()) {
      ExpectEverywhere(absl::StrReplaceAll(sql, {{"@", key.table}}), value);
    }
  }
};

TEST_F(KeyTypesTest, RowsAreFoundByWhatIsEqual) {
  BDR_START_CLUSTER(Options());
  All("n1", "INSERT INTO @ VALUES (:one, 1), (:other, 2)");
  BDR_CONVERGE();
  All("n2", "UPDATE @ SET n = 10, k = :same WHERE k = :one");
  BDR_CONVERGE();
  ExpectAll("SELECT count(*) || ' ' || sum(n) FROM @", "2 12");
  ExpectEverywhere("SELECT k FROM k_interval WHERE n = 10", "30 days");
  ExpectEverywhere("SELECT k FROM k_citext_domain WHERE n = 10", "a@EXAMPLE.org");

  // The same key on both nodes at once, each written in its own way: one row, the later one.
  All("n1", "DELETE FROM @");
  BDR_CONVERGE();
  cluster_->Partition("n1", "n2");
  All("n1", "INSERT INTO @ VALUES (:one, 1)");
  All("n2", "INSERT INTO @ VALUES (:same, 2)");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectAll("SELECT count(*) || ' ' || sum(n) FROM @", "1 2");
  EXPECT_EQ(Value("n1", "SELECT k FROM k_jsonb"), Value("n2", "SELECT k FROM k_jsonb"));

  // A delete against an update of what is equal, a key change, and many rows at once.
  cluster_->Partition("n1", "n2");
  All("n1", "UPDATE @ SET n = 3 WHERE k = :one");
  All("n2", "DELETE FROM @ WHERE k = :same");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectAll("SELECT count(*) FROM @", "0");
  All("n2", "INSERT INTO @ VALUES (:same, 1); UPDATE @ SET k = :other; DELETE FROM @ WHERE n = 9");
  BDR_CONVERGE();
  All("n1", "UPDATE @ SET n = 4 WHERE k = :other; DELETE FROM @ WHERE k = :one");
  BDR_CONVERGE();
  ExpectAll("SELECT count(*) || ' ' || sum(n) FROM @", "1 4");
}

TEST_F(KeyTypesTest, TablesThatNobodyCouldFindARowOfAreLeftOutAndStopNobody) {
  harness::ClusterOptions options;
  options.nodes.assign(2, {});
  options.schema_sql =
      "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = "
      "false);"
      "CREATE TABLE good (id int PRIMARY KEY, v text);"
      "CREATE TABLE by_class (k regclass PRIMARY KEY); CREATE TABLE by_query (k tsquery PRIMARY "
      "KEY);"
      "CREATE TABLE by_array (k int[] PRIMARY KEY); CREATE TABLE by_vector (k oidvector PRIMARY "
      "KEY);"
      "CREATE TABLE by_nocase (k text COLLATE nocase PRIMARY KEY);"
      "CREATE TABLE by_generated (a int, k int GENERATED ALWAYS AS (a * 2) STORED PRIMARY KEY);";
  const std::string tables = std::exchange(options.schema_sql, "");
  BDR_START_CLUSTER(std::move(options));
  for (const char* node : {"n1", "n2"}) BDR_EXEC(node, tables);
  const std::vector<std::string> left_out = {"by_class",  "by_query",  "by_array",
                                             "by_vector", "by_nocase", "by_generated"};
  BDR_EXEC("n1", "SELECT bdr.sync_publications()");
  BDR_EXEC("n2", "SELECT bdr.sync_publications()");
  EXPECT_EQ(Value("n1",
                  "SELECT string_agg(tablename, ' ') FROM pg_publication_tables WHERE tablename <> "
                  "'marker'"),
            "good");
  EXPECT_EQ(Value("n1", "SELECT count(*) FROM bdr.sync_publications() s WHERE s LIKE '-- %'"), "6");
  const auto status_names = [&](const std::string& table) {
    return harness::WaitFor(
        absl::StrCat("status names ", table), kDeadline, [&]() -> absl::StatusOr<bool> {
          const auto status = cluster_->Bdrctl({"status"});
          if (!status.ok()) return status.status();
          return absl::StrContains(status->out, absl::StrCat("public.", table)) &&
                 absl::StrContains(status->out, "does not replicate");
        });
  };
  for (const std::string& table : left_out) EXPECT_OK(status_names(table));

  // One was published before, or by hand: its changes stay here all the same.
  for (const char* node : {"n1", "n2"}) {
    BDR_EXEC(node, "ALTER PUBLICATION bdr_keyed ADD TABLE by_array, by_nocase, by_generated");
  }
  BDR_EXEC("n1",
           "INSERT INTO by_class VALUES ('pg_class'); INSERT INTO by_query VALUES ('a & b');"
           "INSERT INTO by_array VALUES ('{1}'); INSERT INTO by_nocase VALUES ('a');"
           "UPDATE by_nocase SET k = 'A'; DELETE FROM by_array;"
           "INSERT INTO by_array VALUES ('{2}'); INSERT INTO by_generated VALUES (1);"
           "INSERT INTO good VALUES (1, 'arrives'); TRUNCATE by_nocase, good;"
           "INSERT INTO good VALUES (2, 'arrives'); INSERT INTO by_nocase VALUES ('c')");
  BDR_EXEC("n2", "INSERT INTO by_array VALUES ('{3}'); INSERT INTO good VALUES (3, 'arrives')");
  for (const char* node : {"n1", "n2"}) {
    ASSERT_OK(cluster_->WaitForValue(node, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM good",
                                     "2 3", kDeadline));
  }
  EXPECT_EQ(Value("n2", "SELECT count(*) FROM by_nocase"), "0");
  EXPECT_EQ(Value("n2", "SELECT k FROM by_array"), "{3}");

  // An agent that starts is not kept from it.
  ASSERT_OK(cluster_->agent("n2").Terminate());
  BDR_EXEC("n1", "INSERT INTO good VALUES (4, 'later'); INSERT INTO by_array VALUES ('{4}')");
  ASSERT_OK(cluster_->StartAgent("n2"));
  ASSERT_OK(cluster_->WaitForValue("n2", "SELECT count(*) FROM good", "3", kDeadline));
  // Mended, they replicate.
  for (const char* node : {"n1", "n2"}) {
    BDR_EXEC(node,
             "TRUNCATE by_nocase; ALTER TABLE by_nocase ALTER k TYPE text COLLATE \"C\";"
             "SELECT bdr.sync_publications()");
  }
  BDR_EXEC("n2", "INSERT INTO by_nocase VALUES ('a'), ('A')");
  ASSERT_OK(cluster_->WaitForValue("n1", "SELECT count(*) FROM by_nocase", "2", kDeadline));
}

}  // namespace
}  // namespace bdr::integration
