// Tables with further unique constraints are written in the order in which their changes were made,
// also where a row has to be looked at because somebody else has written it meanwhile. Identities
// that no UPDATE can set follow the row that wins.
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class SourceOrderTest : public ClusterTest {
 protected:
  void StartWithProxies() {
    harness::ClusterOptions options;
    options.nodes.assign(2, {});
    options.proxies = true;
    options.schema_sql =
        "CREATE TABLE place (id int PRIMARY KEY, seat int UNIQUE, note text);"
        "INSERT INTO place SELECT i, i, 'first' FROM generate_series(1, 20) i;"
        "CREATE TABLE account (name text PRIMARY KEY, id bigint GENERATED ALWAYS AS IDENTITY,"
        " note text)";
    BDR_START_CLUSTER(std::move(options));
  }
};

TEST_F(SourceOrderTest, ManyChangesOfARowThatAnotherNodeWroteTooAreMadeInTheirOrder) {
  StartWithProxies();
  if (HasFatalFailure()) return;
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n1", "UPDATE place SET note = 'n1'");
  // Later, each as one transaction.
  BDR_EXEC("n2",
           "BEGIN; UPDATE place SET note = 'a' WHERE id = 1;"
           "UPDATE place SET note = 'b' WHERE id = 1; COMMIT");
  BDR_EXEC("n2",
           "BEGIN; DELETE FROM place WHERE id = 2; INSERT INTO place VALUES (2, 2, 'c'); COMMIT");
  BDR_EXEC(
      "n2",
      "BEGIN; UPDATE place SET note = 'd' WHERE id = 3; DELETE FROM place WHERE id = 3; COMMIT");
  BDR_EXEC(
      "n2",
      "BEGIN; UPDATE place SET note = 'e' WHERE id = 4; DELETE FROM place WHERE id = 4;"
      "INSERT INTO place VALUES (4, 4, 'f'); UPDATE place SET note = 'g' WHERE id = 4; COMMIT");
  // A value goes from row to row.
  BDR_EXEC(
      "n2",
      "BEGIN; UPDATE place SET seat = 105 WHERE id = 5; UPDATE place SET seat = 5 WHERE id = 6;"
      "UPDATE place SET seat = 6 WHERE id = 5; COMMIT");
  BDR_EXEC("n2",
           "BEGIN; DELETE FROM place WHERE id = 7; INSERT INTO place VALUES (107, 7, 'h'); COMMIT");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere(
      "SELECT string_agg(concat_ws(' ', id, seat, note), ', ' ORDER BY id) FROM place"
      " WHERE id < 8 OR id > 100",
      "1 1 b, 2 2 c, 4 4 g, 5 6 first, 6 5 first, 107 7 h");
}

TEST_F(SourceOrderTest, ChangesOfARowThatIsGoneElsewhereAreMadeInTheirOrder) {
  StartWithProxies();
  if (HasFatalFailure()) return;
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n1", "DELETE FROM place WHERE id <= 3");
  BDR_EXEC("n2",
           "BEGIN; UPDATE place SET note = 'a' WHERE id = 1;"
           "UPDATE place SET note = 'b' WHERE id = 1; COMMIT");
  BDR_EXEC(
      "n2",
      "BEGIN; UPDATE place SET note = 'c' WHERE id = 2; DELETE FROM place WHERE id = 2; COMMIT");
  BDR_EXEC("n2",
           "BEGIN; DELETE FROM place WHERE id = 3; INSERT INTO place VALUES (3, 3, 'd'); COMMIT");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere(
      "SELECT string_agg(concat_ws(' ', id, seat, note), ', ' ORDER BY id) FROM place WHERE id < 4",
      "1 1 b, 3 3 d");
}

TEST_F(SourceOrderTest, IdentitiesOfANaturalKeyEndEqual) {
  StartWithProxies();
  if (HasFatalFailure()) return;
  cluster_->Partition("n1", "n2");
  BDR_EXEC("n1", "INSERT INTO account (name, note) VALUES ('x', '1'), ('ann', 'n1')");
  BDR_EXEC("n2", "INSERT INTO account (name, note) VALUES ('ann', 'n2')");
  cluster_->Heal();
  BDR_CONVERGE();
  ExpectEverywhere("SELECT concat_ws(' ', id, note) FROM account WHERE name = 'ann'", "1 n2");
  BDR_EXEC("n1",
           "BEGIN; DELETE FROM account WHERE name = 'ann';"
           "INSERT INTO account (name, note) VALUES ('ann', 'again'); COMMIT");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT concat_ws(' ', id, note) FROM account WHERE name = 'ann'", "3 again");
}

}  // namespace
}  // namespace bdr::integration
