// What is read of a real server's tables, and that every kind of change is noticed.
#include "postgres/shapes/read_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "bdr/v1/schema.pb.h"
#include "postgres/catalog.h"
#include "postgres/shapes/packed_schema.h"
#include "tests/harness/postgres_test.h"

namespace bdr::postgres {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAreArray;

constexpr char kSchemaSql[] = R"(
CREATE SCHEMA app;
CREATE TABLE app.t (
    id int PRIMARY KEY, n numeric(5,1) NOT NULL DEFAULT 3, s text COLLATE "C",
    g int GENERATED ALWAYS AS (id * 2) STORED, i bigint GENERATED ALWAYS AS IDENTITY,
    v text, r int4range, CONSTRAINT positive CHECK (n > 0),
    CONSTRAINT apart EXCLUDE USING gist (r WITH &&));
CREATE UNIQUE INDEX t_lower ON app.t (lower(v)) INCLUDE (n) WHERE n > 1;
ALTER TABLE app.t ADD CONSTRAINT t_v UNIQUE NULLS NOT DISTINCT (v, s) DEFERRABLE;
CREATE TABLE app.parted (id int PRIMARY KEY, v int, w int, UNIQUE (id, v))
    PARTITION BY RANGE (id);
CREATE TABLE app.keyless (v int);
CREATE UNLOGGED TABLE app.unlogged (v int);
CREATE TABLE app.part_1 PARTITION OF app.parted FOR VALUES FROM (0) TO (10);
CREATE UNIQUE INDEX part_w ON app.part_1 (w);
CREATE PUBLICATION bdr_keyed FOR TABLE app.t WITH (publish_via_partition_root = true);
)";

class ReadSchemaTest : public harness::PostgresTest {
 protected:
  static void SetUpTestSuite() {
    BDR_START_POSTGRES();
    ASSERT_OK(server_->RunScript(kSchemaSql));
    ASSERT_OK(server_->Exec("CREATE ROLE plain LOGIN; GRANT USAGE ON SCHEMA app TO plain"));
    ASSERT_OK_AND_ASSIGN(connection_, server_->Connect("plain"));
  }
  static void TearDownTestSuite() {
    connection_.reset();
    PostgresTest::TearDownTestSuite();
  }
  static std::string Hash() {
    v1::Schema schema;
    EXPECT_OK(ReadSchema(*connection_, &schema));
    return PackSchema(schema).hash;
  }

  static inline std::unique_ptr<Connection> connection_;  // of a role without rights to the rows
};

TEST_F(ReadSchemaTest, TablesAreReadWhole) {
  v1::Schema schema;
  ASSERT_OK(ReadSchema(*connection_, &schema));
  std::vector<std::string> tables;
  for (const v1::TableShape& table : schema.tables()) tables.push_back(table.name());
  ASSERT_THAT(tables, ElementsAre("keyless", "parted", "t"));

  const v1::TableShape& t = schema.tables(2);
  EXPECT_TRUE(t.published());
  EXPECT_THAT(t.key(), ElementsAre("id"));
  EXPECT_EQ(t.replica_identity(), "DEFAULT");
  EXPECT_EQ(t.primary_key().meaning(), "PRIMARY KEY (id)");
  std::vector<std::string> columns;
  for (const v1::ColumnShape& c : t.columns()) {
    columns.push_back(absl::StrCat(c.name(), " ", c.type(), "|", c.collation(), "|",
                                   c.not_null() ? "not null" : "", "|", c.default_as(), "|",
                                   c.generated_as(), "|", c.identity()));
  }
  EXPECT_THAT(columns,
              ElementsAre("id integer||not null|||", "n numeric(5,1)||not null|3||",
                          "s text|pg_catalog.\"C\"||||", "g integer||||(id * 2)|",
                          "i bigint||not null|||ALWAYS", "v text|||||", "r int4range|||||"));
  std::vector<std::string> unique;
  for (const v1::ConstraintShape& c : t.unique()) {
    unique.push_back(absl::StrCat(c.name(), ": ", c.meaning(), " <- ", c.statement()));
  }
  EXPECT_THAT(
      unique,
      ElementsAre("apart: EXCLUDE (r WITH OPERATOR(pg_catalog.&&)) <- ALTER TABLE app.t ADD "
                  "CONSTRAINT apart EXCLUDE USING gist (r WITH &&)",
                  "t_lower: UNIQUE (lower(v)) WHERE (n > (1)::numeric) <- CREATE UNIQUE INDEX "
                  "t_lower ON app.t USING btree (lower(v)) INCLUDE (n) WHERE (n > (1)::numeric)",
                  "t_v: UNIQUE (v, s COLLATE pg_catalog.\"C\") NULLS NOT DISTINCT <- ALTER TABLE "
                  "app.t ADD CONSTRAINT t_v UNIQUE NULLS NOT DISTINCT (v, s) DEFERRABLE"));
  ASSERT_EQ(t.checks_size(), 1);
  EXPECT_EQ(t.checks(0).meaning(), "(n > (0)::numeric)");

  const v1::TableShape& parted = schema.tables(1);
  EXPECT_FALSE(parted.published());
  EXPECT_EQ(parted.partition_by(), "RANGE (id)");
  unique.clear();
  for (const v1::ConstraintShape& c : parted.unique()) unique.push_back(c.meaning());
  EXPECT_THAT(unique, ElementsAre("UNIQUE (w) of partition app.part_1", "UNIQUE (id, v)"));
}

// Else what one node tells would not be found in what another one loads.
TEST_F(ReadSchemaTest, ConstraintsMeanTheSameWhereTheyAreLoaded) {
  v1::Schema schema;
  ASSERT_OK(ReadSchema(*connection_, &schema));
  for (const v1::TableShape& table : schema.tables()) {
    ASSERT_OK_AND_ASSIGN(TableInfo loaded, LoadTable(*connection_, table.schema(), table.name()));
    ASSERT_OK(LoadConstraints(*connection_, &loaded));
    std::vector<std::string> told;
    std::vector<std::string> known;
    for (const v1::ConstraintShape& c : table.unique()) told.push_back(c.meaning());
    for (const ConstraintInfo& c : loaded.constraints) known.push_back(c.Meaning());
    EXPECT_THAT(known, UnorderedElementsAreArray(told)) << table.name();
  }
}

TEST_F(ReadSchemaTest, EveryKindOfChangeIsNoticed) {
  for (const char* change :
       {"ALTER TABLE app.t ADD COLUMN x int",
        "ALTER TABLE app.t RENAME COLUMN x TO y",
        "ALTER TABLE app.t ALTER COLUMN y TYPE bigint",
        "ALTER TABLE app.t ALTER COLUMN y SET NOT NULL",
        "ALTER TABLE app.t ALTER COLUMN y SET DEFAULT 4",
        "ALTER TABLE app.t DROP COLUMN y",
        "ALTER TABLE app.t ALTER COLUMN g DROP EXPRESSION",
        "ALTER TABLE app.t REPLICA IDENTITY FULL",
        "CREATE UNIQUE INDEX fresh ON app.t (n)",
        "DROP INDEX app.fresh",
        "ALTER TABLE app.t DROP CONSTRAINT positive",
        "ALTER TABLE app.keyless ADD PRIMARY KEY (v)",
        "ALTER PUBLICATION bdr_keyed ADD TABLE app.keyless",
        "ALTER SCHEMA app RENAME TO app2",
        "ALTER SCHEMA app2 RENAME TO app",
        "CREATE TABLE app.more (v int)",
        "DROP TABLE app.more",
        "CREATE TYPE app.mood AS ENUM ('sad'); ALTER TABLE app.t ADD COLUMN m app.mood",
        "ALTER TYPE app.mood ADD VALUE 'ok'",
        "ALTER TYPE app.mood RENAME VALUE 'sad' TO 'down'",
        "CREATE TYPE app.pair AS (a int); ALTER TABLE app.t ADD COLUMN p app.pair[]",
        "ALTER TYPE app.pair ADD ATTRIBUTE b numeric(5, 1)"}) {
    ASSERT_OK_AND_ASSIGN(const std::string snapshot, PresentSnapshot(*connection_));
    ASSERT_OK_AND_ASSIGN(const std::string before, CatalogFingerprint(*connection_));
    const std::string hash = Hash();
    ASSERT_OK(server_->Exec(change));
    EXPECT_NE(PresentSnapshot(*connection_).value_or(""), snapshot) << change;
    EXPECT_NE(CatalogFingerprint(*connection_).value_or(""), before) << change;
    EXPECT_NE(Hash(), hash) << change;
  }
  ASSERT_OK_AND_ASSIGN(const std::string before, CatalogFingerprint(*connection_));
  ASSERT_OK(server_->Exec("VACUUM ANALYZE app.t"));
  EXPECT_EQ(CatalogFingerprint(*connection_).value_or(""), before);
}

}  // namespace
}  // namespace bdr::postgres
