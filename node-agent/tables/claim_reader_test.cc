// Whether we and PostgreSQL agree on which rows hold the same: for every kind of constraint, every
// two of some rows that differ in just the ways that matter are inserted for real.
#include "node-agent/tables/claim_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "node-agent/changelog/database.h"
#include "node-agent/tables/changes_testing.h"
#include "node-agent/tables/column_map.h"
#include "postgres/connection.h"
#include "postgres/wire.h"
#include "tests/harness/postgres_server.h"
#include "tests/harness/temp_folder.h"

namespace bdr::agent {
namespace {

using postgres::ColumnKind;
using postgres::Connection;
using postgres::ConstraintInfo;
using postgres::Result;
using Form = ConstraintInfo::Form;

constexpr char kSetUpSql[] = R"(
CREATE SCHEMA app;
CREATE EXTENSION btree_gist;
CREATE COLLATION app.nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE FUNCTION app.plainly(text) RETURNS text IMMUTABLE LANGUAGE sql
  AS 'SELECT pg_catalog.lower($1)';
CREATE TABLE app.given (id int, a int, b text, c numeric, d bit(3), e int4range, f float8);
INSERT INTO app.given VALUES
  (1, 1, 'x', 1.0, B'101', '[1,5)', 0),
  (2, 1, 'X', 1.00, B'100', '[4,9)', '-0'),
  (3, -1, 'x', NULL, B'101', 'empty', 'NaN'),
  (4, NULL, 'y ', 2, NULL, '[20,)', 'NaN'),
  (5, NULL, NULL, 2.5, NULL, NULL, NULL),
  (6, 2, 'y', 1, B'111', '[5,6)', 1),
  (7, 1, 'x', 1, B'101', '[1,5)', 0),
  (8, 2, NULL, NULL, B'111', '(,2)', 1);
)";

struct Case {
  const char* constraint;  // on table app.t
  Form form;
  const char* columns = "";  // further ones
};

const Case kCases[] = {
    {"ALTER TABLE app.t ADD UNIQUE (a)", Form::kCanonical},
    {"ALTER TABLE app.t ADD UNIQUE (a) DEFERRABLE INITIALLY IMMEDIATE", Form::kCanonical},
    {"ALTER TABLE app.t ADD UNIQUE NULLS NOT DISTINCT (a, b)", Form::kCanonical},
    {"ALTER TABLE app.t ADD UNIQUE (c, f)", Form::kCanonical},
    {"CREATE UNIQUE INDEX ON app.t (b text_pattern_ops)", Form::kCanonical},
    {"CREATE UNIQUE INDEX ON app.t (b COLLATE app.nocase)", Form::kHash},
    {"CREATE UNIQUE INDEX ON app.t (lower(b))", Form::kHash},
    {"CREATE UNIQUE INDEX ON app.t (app.plainly(b), abs(a))", Form::kHash},
    {"CREATE UNIQUE INDEX ON app.t ((a + 1)) NULLS NOT DISTINCT", Form::kHash},
    {"CREATE UNIQUE INDEX ON app.t (b) WHERE a > 0", Form::kHash},
    {"CREATE UNIQUE INDEX ON app.t (e)", Form::kCanonical},
    {"CREATE UNIQUE INDEX ON app.t ((ARRAY[a, 1])) WHERE b IS NOT NULL", Form::kHash},
    {"CREATE UNIQUE INDEX ON app.t (g)", Form::kHash, ", g int GENERATED ALWAYS AS (a * 2) STORED"},
    {"CREATE UNIQUE INDEX ON app.t (d)", Form::kCanonical},
    {"CREATE UNIQUE INDEX ON app.t ((d | B'001')) NULLS NOT DISTINCT", Form::kPairwise},
    {"ALTER TABLE app.t ADD EXCLUDE USING gist (e WITH &&)", Form::kPairwise},
    {"ALTER TABLE app.t ADD EXCLUDE USING gist (e WITH &&) WHERE (a = 1)", Form::kPairwise},
    {"ALTER TABLE app.t ADD EXCLUDE USING gist (int4range(a, a + 2) WITH &&, e WITH -|-)",
     Form::kPairwise},
    {"ALTER TABLE app.t ADD EXCLUDE USING btree (lower(b) WITH =)", Form::kPairwise},
    // Equal by a hash, and by more than that.
    {"ALTER TABLE app.t ADD EXCLUDE USING gist (c WITH =, e WITH &&)", Form::kPairwise},
    {"ALTER TABLE app.t ADD EXCLUDE USING gist (f WITH =, a WITH =, e WITH &&)", Form::kPairwise},
    {"CREATE UNIQUE INDEX ON app.t (f, (d | B'001')) NULLS NOT DISTINCT", Form::kPairwise},
    // Rows whose type has no binary form travel column by column.
    {"CREATE UNIQUE INDEX ON app.t (lower(b), a)", Form::kHash, ", acl aclitem"},
};

class ClaimReaderTest : public ::testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() {
    ASSERT_OK_AND_ASSIGN(server_, harness::PostgresServer::Create());
    ASSERT_OK(server_->RunScript(kSetUpSql));
  }
  static void TearDownTestSuite() { server_.reset(); }

  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(connection_, server_->Connect());
    ASSERT_OK_AND_ASSIGN(folder_, harness::TempFolder::Create());
    ASSERT_OK_AND_ASSIGN(database_, Database::Open({.directory = folder_->path() + "/db"}));
    store_ = std::make_unique<conflict::ClaimStore>(database_->db(), database_->claims());
    const Case& param = GetParam();
    ASSERT_OK(connection_->Exec(absl::StrCat(
        "DROP TABLE IF EXISTS app.t; CREATE TABLE app.t (id int PRIMARY KEY, a int, b text,"
        " c numeric, d bit(3), e int4range, f float8",
        param.columns, "); ", param.constraint)));
    ASSERT_OK_AND_ASSIGN(postgres::TableInfo table, postgres::LoadTable(*connection_, "app", "t"));
    ASSERT_OK(postgres::LoadConstraints(*connection_, &table));
    ASSERT_EQ(table.constraints.size(), 1u);
    info_ = table.constraints.front();
    RemoteRelation relation{.raw = "", .message = testing::RelationOf(table), .types = {}};
    // As pgoutput: without what is generated.
    std::erase_if(relation.message.columns, [](const auto& column) { return column.name == "g"; });
    ASSERT_OK_AND_ASSIGN(
        table_,
        BoundTable::Make(relation, std::make_shared<postgres::TableInfo>(std::move(table))));
    ASSERT_OK_AND_ASSIGN(given_, connection_->ExecParams(
                                     "SELECT id, a, b, c, d, e, f FROM app.given ORDER BY id", {},
                                     /*binary_result=*/true));
    for (int row = 0; row < given_.rows(); ++row) {
      LocalRow& local = rows_.emplace_back(table_->table().columns.size());
      for (int column = 0; column < given_.columns(); ++column) {
        if (given_.is_null(row, column)) continue;
        local[static_cast<size_t>(column)] = {.kind = ColumnKind::kBinary,
                                              .data = given_.value(row, column)};
      }
      pointers_.push_back(&local);
    }
  }

  void Insert(size_t row) {
    ASSERT_OK(connection_->Exec(absl::StrCat(
        "INSERT INTO app.t (id, a, b, c, d, e, f) SELECT * FROM app.given WHERE id = ", row + 1)));
  }
  // Whether PostgreSQL lets the row in beside what stands there.
  bool Collides(size_t row) {
    const absl::Status status =
        connection_
            ->Exec(absl::StrCat("INSERT INTO app.t (id, a, b, c, d, e, f) SELECT 100 + id, a, b, c,"
                                " d, e, f FROM app.given WHERE id = ",
                                row + 1, "; DELETE FROM app.t WHERE id > 100"))
            .status();
    if (!status.ok()) {
      EXPECT_THAT(postgres::Sqlstate(status), ::testing::AnyOf("23505", "23P01")) << status;
    }
    return !status.ok();
  }
  // Which of the rows given find the one that stands there as holding the same.
  std::vector<bool> Finds() {
    std::vector<std::string> values;
    values.push_back(table_->EncodeRows(pointers_).value_or(""));
    for (const int column : table_->columns_beside()) {
      values.push_back(table_->EncodeColumn(column, pointers_).value_or(""));
    }
    std::vector<postgres::Param> params;
    for (const std::string& value : values) params.push_back({.data = value, .binary = true});
    const absl::StatusOr<Result> result =
        connection_->ExecParams(HoldersSql(*table_, info_), params, /*binary_result=*/true);
    EXPECT_OK(result);
    std::vector<bool> found(pointers_.size(), false);
    for (int row = 0; result.ok() && row < result->rows(); ++row) {
      postgres::WireReader reader(result->value(row, 0));
      found.at(reader.Uint64() - 1) = true;
    }
    return found;
  }

  static inline std::unique_ptr<harness::PostgresServer> server_;
  std::unique_ptr<Connection> connection_;
  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<conflict::ClaimStore> store_;
  ConstraintInfo info_;
  std::shared_ptr<const BoundTable> table_;
  Result given_;
  std::deque<LocalRow> rows_;
  std::vector<const LocalRow*> pointers_;
};

TEST_P(ClaimReaderTest, RowsClaimTheSameIfPostgresRefusesToHaveBoth) {
  EXPECT_EQ(info_.form, GetParam().form);
  ClaimReader reader({.conninfo = server_->conninfo("postgres"), .application_name = "test"});
  ASSERT_OK_AND_ASSIGN(const std::vector<RowClaims> claims, reader.Read(*table_, pointers_));
  const conflict::Stamp earlier{.time_us = 4, .node = 1};
  int collisions = 0;
  for (size_t i = 0; i < rows_.size(); ++i) {
    ASSERT_OK(connection_->Exec("TRUNCATE app.t"));
    Insert(i);
    const std::vector<bool> finds = Finds();
    // A store that knows of this row's claim alone.
    const std::string name = absl::StrCat("row ", i);
    ASSERT_OK_AND_ASSIGN(const auto folder, harness::TempFolder::Create());
    ASSERT_OK_AND_ASSIGN(const auto database, Database::Open({.directory = folder->path() + "/d"}));
    const conflict::ClaimStore store(database->db(), database->claims());
    rocksdb::WriteBatch batch;
    if (claims[i][0].has_value()) {
      store.Put(&batch, StoredClaimKey(info_, *claims[i][0], {.time_us = 5, .node = 1}), name,
                {.time_us = 5, .node = 1});
    }
    ASSERT_OK(database->Write(&batch, /*sync=*/false));
    for (size_t j = 0; j < rows_.size(); ++j) {
      const bool collides = Collides(j);
      collisions += collides ? 1 : 0;
      EXPECT_EQ(finds[j], collides) << "rows " << i + 1 << " and " << j + 1;
      bool claimed = false;
      if (claims[j][0].has_value()) {
        ASSERT_OK_AND_ASSIGN(const std::vector<conflict::Claimants> who,
                             reader.WhoClaimed(*table_, 0, {*claims[j][0]}, {earlier}, store));
        claimed = conflict::ClaimedLater(who[0], "another", earlier);
      }
      EXPECT_EQ(claimed, collides) << "rows " << i + 1 << " and " << j + 1;
    }
  }
  EXPECT_GT(collisions, 0);
  EXPECT_LT(collisions, 64);
}

TEST_P(ClaimReaderTest, WhatDoesNotComeWithARowIsNotClaimed) {
  LocalRow row = rows_.front();
  for (size_t i = 1; i < row.size(); ++i)
    row[i] = {.kind = ColumnKind::kUnchangedToast, .data = {}};
  ClaimReader reader({.conninfo = server_->conninfo("postgres"), .application_name = "test"});
  const std::vector<const LocalRow*> rows = {&row, &rows_.front()};
  ASSERT_OK_AND_ASSIGN(const std::vector<RowClaims> claims, reader.Read(*table_, rows));
  EXPECT_EQ(claims[0][0], std::nullopt);
  EXPECT_NE(claims[1][0], std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(EveryKind, ClaimReaderTest, ::testing::ValuesIn(kCases));

}  // namespace
}  // namespace bdr::agent
