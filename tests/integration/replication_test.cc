// Every kind of change that users make reaches every node, whatever the tables look like.
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

class ReplicationTest : public ClusterTest {};

TEST_F(ReplicationTest, EveryKindOfChangeReachesTheOtherOfTwoNodes) {
  BDR_START_CLUSTER(2,
                    "CREATE TABLE item (id int PRIMARY KEY, name text, price numeric);"
                    "CREATE TABLE scratch (id int PRIMARY KEY)");
  BDR_EXEC("n1", "INSERT INTO item SELECT i, 'item ' || i, i * 1.5 FROM generate_series(1, 100) i");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM item", "100");

  BDR_EXEC("n2", "UPDATE item SET price = price + 1 WHERE id <= 50");
  BDR_EXEC("n2", "DELETE FROM item WHERE id > 90");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM item", "90");
  ExpectEverywhere("SELECT price FROM item WHERE id = 2", "4.0");

  // A new key for an old row, a key used again, and a row that comes and goes in one transaction.
  BDR_EXEC("n1", "UPDATE item SET id = 1000 WHERE id = 1");
  BDR_EXEC("n1", "DELETE FROM item WHERE id = 2; INSERT INTO item VALUES (2, 'again', NULL)");
  BDR_EXEC("n1",
           "INSERT INTO item VALUES (500, 'short-lived', 1); DELETE FROM item WHERE id = 500");
  BDR_EXEC("n1",
           "INSERT INTO item VALUES (501, 'a', 1); UPDATE item SET name = 'b' WHERE id = 501");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT name FROM item WHERE id = 1000", "item 1");
  ExpectEverywhere("SELECT count(*) FROM item WHERE id IN (1, 500)", "0");
  ExpectEverywhere("SELECT name FROM item WHERE id = 2", "again");
  ExpectEverywhere("SELECT name FROM item WHERE id = 501", "b");

  BDR_EXEC("n2", "INSERT INTO scratch SELECT generate_series(1, 1000)");
  BDR_CONVERGE();
  BDR_EXEC("n1", "TRUNCATE scratch");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM scratch", "0");
}

TEST_F(ReplicationTest, ThreeNodesAllTakeWrites) {
  BDR_START_CLUSTER(3, "CREATE TABLE note (id text PRIMARY KEY, body text)");
  for (const std::string& node : cluster_->names()) {
    BDR_EXEC(node, absl::StrCat("INSERT INTO note SELECT '", node,
                                "-' || i, repeat('x', i) FROM generate_series(1, 200) i"));
  }
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM note", "600");
  // Each node changes rows of its neighbour, and deletes rows of the other.
  BDR_EXEC("n1", "UPDATE note SET body = 'by n1' WHERE id LIKE 'n2-%'");
  BDR_EXEC("n2", "UPDATE note SET body = 'by n2' WHERE id LIKE 'n3-%'");
  BDR_EXEC("n3", "DELETE FROM note WHERE id LIKE 'n1-1%'");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM note WHERE body = 'by n1'", "200");
  ExpectEverywhere("SELECT count(*) FROM note WHERE body = 'by n2'", "200");
  ExpectEverywhere("SELECT count(*) FROM note WHERE id LIKE 'n1-1%'", "0");
}

TEST_F(ReplicationTest, KeysOfManyColumnsTextKeysAndQuotedNames) {
  BDR_START_CLUSTER(2, R"sql(
CREATE SCHEMA "Sales Dept";
CREATE SCHEMA other;
CREATE TABLE "Sales Dept"."Order Line" ("Order" int, "Line ""No""" text, "Überschrift" text,
                                        "select" int, PRIMARY KEY ("Line ""No""", "Order"));
CREATE TABLE other.item (code text PRIMARY KEY, qty int);
CREATE TABLE item (code varchar(30) PRIMARY KEY, qty int);
CREATE TABLE by_uuid (u uuid, day date, n numeric, v text, PRIMARY KEY (u, day, n));
CREATE TABLE no_primary (a int NOT NULL, b text);
CREATE UNIQUE INDEX no_primary_a ON no_primary (a);
ALTER TABLE no_primary REPLICA IDENTITY USING INDEX no_primary_a;
)sql");
  BDR_EXEC("n1", R"sql(
INSERT INTO "Sales Dept"."Order Line"
    SELECT i, 'line ' || i % 7, 'ü' || i, i FROM generate_series(1, 50) i;
INSERT INTO other.item VALUES ('', 1), ('a', 2), ('A', 3), (' a', 4), (E'a\tb\\c''d"e', 5);
INSERT INTO item VALUES ('a', 20), ('日本語', 30);
INSERT INTO by_uuid SELECT md5(i::text)::uuid, date '2026-01-01' + i, i / 10.0, 'v' || i
    FROM generate_series(1, 20) i;
INSERT INTO no_primary SELECT i, 'b' FROM generate_series(1, 10) i)sql");
  BDR_CONVERGE();
  BDR_EXEC("n2", R"sql(
UPDATE "Sales Dept"."Order Line" SET "select" = -"select", "Order" = "Order" + 1000
    WHERE "Order" <= 10;
DELETE FROM "Sales Dept"."Order Line" WHERE "Line ""No""" = 'line 3';
UPDATE other.item SET qty = qty + 100;
DELETE FROM item WHERE code = '日本語';
UPDATE by_uuid SET v = 'changed' WHERE n > 1;
UPDATE no_primary SET b = 'c' WHERE a > 5;
DELETE FROM no_primary WHERE a = 1)sql");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT qty FROM other.item WHERE code = E'a\\tb\\\\c''d\"e'", "105");
  ExpectEverywhere("SELECT count(*) FROM no_primary WHERE b = 'c'", "5");
  ExpectEverywhere("SELECT count(*) FROM item", "1");
}

TEST_F(ReplicationTest, OnlyWhatWasCommittedArrivesAndAllOfIt) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY, v text)");
  BDR_EXEC("n1", R"sql(
BEGIN;
INSERT INTO t VALUES (1, 'kept');
SAVEPOINT a;
INSERT INTO t VALUES (2, 'rolled back');
SAVEPOINT b;
INSERT INTO t VALUES (3, 'rolled back with a');
ROLLBACK TO a;
INSERT INTO t VALUES (4, 'kept');
SAVEPOINT c;
UPDATE t SET v = 'kept, changed' WHERE id = 1;
RELEASE c;
COMMIT;
BEGIN;
INSERT INTO t VALUES (5, 'rolled back');
ROLLBACK)sql");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(id || v, ', ' ORDER BY id) FROM t", "1kept, changed, 4kept");
}

TEST_F(ReplicationTest, CopyInAndOut) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY, a text, b float8)");
  std::string rows;
  for (int i = 0; i < 5000; ++i) absl::StrAppend(&rows, i, "\ttext ", i, "\t", i / 3.0, "\n");
  ASSERT_OK_AND_ASSIGN(const auto connection, cluster_->Connect("n1"));
  ASSERT_OK(connection->CopyIn("COPY t FROM STDIN", rows));
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM t", "5000");
}

TEST_F(ReplicationTest, TablesWithoutAKeyCarryInsertsAndStayWritableForTheirUsers) {
  BDR_START_CLUSTER(2, "CREATE TABLE event (at timestamptz, what text)");
  BDR_EXEC("n1", "INSERT INTO event VALUES ('2026-01-01', 'same'), ('2026-01-01', 'same')");
  BDR_EXEC("n2", "INSERT INTO event VALUES ('2026-01-02', 'other'), (NULL, NULL)");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM event", "4");
  // Only inserts travel, but users are not hindered.
  EXPECT_OK(cluster_->Exec("n1", "UPDATE event SET what = 'changed here' WHERE what = 'other'"));
  EXPECT_OK(cluster_->Exec("n1", "DELETE FROM event WHERE what IS NULL"));
}

TEST_F(ReplicationTest, PartitionedTables) {
  BDR_START_CLUSTER(2, R"sql(
CREATE TABLE measure (day date, sensor int, v float8, PRIMARY KEY (day, sensor))
    PARTITION BY RANGE (day);
CREATE TABLE measure_old PARTITION OF measure FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE measure_2026 PARTITION OF measure FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
    PARTITION BY LIST (sensor);
CREATE TABLE measure_2026_1 PARTITION OF measure_2026 FOR VALUES IN (1, 2, 3);
CREATE TABLE measure_2026_rest PARTITION OF measure_2026 DEFAULT;
)sql");
  BDR_EXEC(
      "n1",
      "INSERT INTO measure SELECT date '2025-12-25' + i % 15, i, i FROM generate_series(1, 60) i");
  BDR_CONVERGE();
  // Some rows move to another partition, at the top and further down.
  BDR_EXEC("n2", "UPDATE measure SET day = day + 10 WHERE sensor <= 20");
  BDR_EXEC("n2", "UPDATE measure SET sensor = sensor + 100 WHERE sensor <= 3");
  BDR_EXEC("n2", "DELETE FROM measure WHERE sensor > 50");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT count(*) FROM measure", "47");
}

TEST_F(ReplicationTest, TriggersAndForeignKeysWorkAtTheOriginOnly) {
  BDR_START_CLUSTER(2, R"sql(
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE);
CREATE TABLE audit (id text PRIMARY KEY, n int);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit VALUES (NEW.id, 1) ON CONFLICT (id) DO UPDATE SET n = audit.n + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER note AFTER INSERT ON child FOR EACH ROW EXECUTE FUNCTION note();
)sql");
  BDR_EXEC("n1", "INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (10, 1), (20, 2)");
  BDR_CONVERGE();
  BDR_EXEC("n2", "DELETE FROM parent WHERE id = 1");
  BDR_CONVERGE();
  ExpectEverywhere("SELECT string_agg(id || ':' || n, ' ' ORDER BY id) FROM audit", "10:1 20:1");
  ExpectEverywhere("SELECT count(*) FROM child", "1");
}

}  // namespace
}  // namespace bdr::integration
