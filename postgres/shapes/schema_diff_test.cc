// Whatever can differ between two nodes' tables is named, with a statement that mends it; what is
// the same under another name or in another order is not.
#include "postgres/shapes/schema_diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "bdr/v1/schema.pb.h"
#include "postgres/shapes/packed_schema.h"

namespace bdr::postgres {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

v1::TableShape* AddTable(v1::Schema* schema, const std::string& name) {
  v1::TableShape* table = schema->add_tables();
  table->set_schema("public");
  table->set_name(name);
  table->set_published(true);
  table->set_replica_identity("DEFAULT");
  table->add_key("id");
  v1::ColumnShape* id = table->add_columns();
  id->set_name("id");
  id->set_type("integer");
  id->set_not_null(true);
  v1::ColumnShape* c = table->add_columns();
  c->set_name("c");
  c->set_type("numeric");
  table->mutable_primary_key()->set_name(absl::StrCat(name, "_pkey"));
  table->mutable_primary_key()->set_meaning("PRIMARY KEY (id)");
  return table;
}

class SchemaDiffTest : public ::testing::Test {
 protected:
  SchemaDiffTest() : a_(AddTable(&one_, "t")), b_(AddTable(&other_, "t")) {}

  std::vector<std::string> Compare() const {
    std::vector<std::string> lines;
    for (const ShapeDifference& d : CompareSchemas({.schema = &one_, .where = "here"},
                                                   {.schema = &other_, .where = "on eu1"})) {
      lines.push_back(absl::StrCat(d.matters ? "" : "(", d.table, ": ", d.what,
                                   d.at_other ? " > " : " < ", d.statement));
    }
    return lines;
  }

  v1::Schema one_;
  v1::Schema other_;
  v1::TableShape* const a_;
  v1::TableShape* const b_;
};

TEST_F(SchemaDiffTest, EqualTablesDoNotDiffer) { EXPECT_THAT(Compare(), IsEmpty()); }

TEST_F(SchemaDiffTest, NamesAndOrderOfConstraintsAndColumnsAreNoDifference) {
  for (v1::TableShape* table : {a_, b_}) {
    for (const char* meaning : {"UNIQUE (c)", "UNIQUE (lower(d))"}) {
      v1::ConstraintShape* unique = table->add_unique();
      unique->set_meaning(meaning);
      unique->set_name(absl::StrCat(table == a_ ? "a" : "b", meaning));
    }
  }
  b_->mutable_unique()->SwapElements(0, 1);
  b_->mutable_columns()->SwapElements(0, 1);
  EXPECT_THAT(Compare(), IsEmpty());
}

TEST_F(SchemaDiffTest, ColumnsAreComparedByTypeWithModifiersAndMore) {
  a_->mutable_columns(1)->set_type("numeric(5,1)");
  b_->mutable_columns(1)->set_not_null(true);
  b_->mutable_columns(1)->set_default_as("7");
  EXPECT_THAT(
      Compare(),
      ElementsAre("public.t: column c is numeric(5,1) here and numeric on eu1 > ALTER TABLE "
                  "\"public\".\"t\" ALTER COLUMN \"c\" TYPE numeric(5,1)",
                  "public.t: column c is NOT NULL on eu1 only < ALTER TABLE "
                  "\"public\".\"t\" ALTER COLUMN \"c\" SET NOT NULL",
                  "(public.t: the default of column c is none here and 7 on eu1 > ALTER TABLE "
                  "\"public\".\"t\" ALTER COLUMN \"c\" DROP DEFAULT"));
}

TEST_F(SchemaDiffTest, TypesOfOneNameMayBeMadeOfOtherThings) {
  a_->mutable_columns(1)->set_type("app.pair[]");
  b_->mutable_columns(1)->set_type("app.pair[]");
  a_->mutable_columns(1)->set_made_of("(a integer, b text)");
  b_->mutable_columns(1)->set_made_of("(a integer)");
  EXPECT_THAT(Compare(), ElementsAre("public.t: type app.pair[] of column c is (a integer, b text) "
                                     "here and (a integer) on eu1 > "));
}

TEST_F(SchemaDiffTest, PlainAndGeneratedDiffer) {
  b_->mutable_columns(1)->set_generated_as("id * 2");
  EXPECT_THAT(Compare(),
              ElementsAre("public.t: column c is a plain column here and GENERATED ALWAYS AS (id "
                          "* 2) on eu1 > ALTER TABLE \"public\".\"t\" ALTER COLUMN \"c\" DROP "
                          "EXPRESSION"));
}

TEST_F(SchemaDiffTest, MissingColumnsAndTablesAreMadeWhereTheyAreMissing) {
  b_->mutable_columns()->RemoveLast();
  AddTable(&other_, "u")->set_partition_by("RANGE (id)");
  AddTable(&one_, "unpublished")->set_published(false);
  EXPECT_THAT(
      Compare(),
      ElementsAre("public.t: column c is here and not on eu1 > ALTER TABLE \"public\".\"t\" "
                  "ADD COLUMN \"c\" numeric",
                  "public.u: the table is on eu1 and not here < CREATE TABLE "
                  "\"public\".\"u\" (\"id\" integer NOT NULL, \"c\" numeric, PRIMARY KEY "
                  "(id)) PARTITION BY RANGE (id)"));
}

TEST_F(SchemaDiffTest, KeysAndReplicaIdentitiesDiffer) {
  b_->set_key(0, "c");
  b_->mutable_primary_key()->set_meaning("PRIMARY KEY (c)");
  b_->set_replica_identity("FULL");
  EXPECT_THAT(
      Compare(),
      ElementsAre("public.t: the replica identity is DEFAULT here and FULL on eu1 > ALTER TABLE "
                  "\"public\".\"t\" REPLICA IDENTITY DEFAULT",
                  "public.t: the key is (\"id\") here and (\"c\") on eu1 > ALTER TABLE "
                  "\"public\".\"t\" DROP CONSTRAINT \"t_pkey\", ADD PRIMARY KEY (id)"));
}

TEST_F(SchemaDiffTest, ConstraintsAreNamedWhereOneIsMissing) {
  v1::ConstraintShape* unique = b_->add_unique();
  unique->set_name("t_c");
  unique->set_meaning("UNIQUE (c)");
  unique->set_statement("CREATE UNIQUE INDEX t_c ON public.t USING btree (c)");
  v1::ConstraintShape* check = a_->add_checks();
  check->set_name("positive");
  check->set_meaning("(c > 0)");
  check->set_statement("ALTER ...");
  EXPECT_THAT(Compare(),
              ElementsAre("public.t: UNIQUE (c) (index t_c) is on eu1 and not here < CREATE UNIQUE "
                          "INDEX t_c ON public.t USING btree (c)",
                          "public.t: CHECK (c > 0) (positive) is here and not on eu1 > ALTER ..."));
}

TEST_F(SchemaDiffTest, GeneratedKeysAreNamed) {
  EXPECT_THAT(UnfitTables(one_), IsEmpty());
  a_->mutable_columns(0)->set_generated_as("c * 2");
  const std::vector<ShapeDifference> unfit = UnfitTables(one_);
  ASSERT_EQ(unfit.size(), 1u);
  EXPECT_THAT(unfit[0].what, ::testing::HasSubstr("column id of the key is generated"));
  EXPECT_EQ(FindTableShape(one_, "public", "t"), a_);
  EXPECT_EQ(FindTableShape(one_, "public", "s"), nullptr);
  EXPECT_EQ(FindTableShape(one_, "public", "u"), nullptr);
}

TEST_F(SchemaDiffTest, PackedSchemasComeBackAndAreNamedByWhatTheyHold) {
  const PackedSchema one = PackSchema(one_);
  EXPECT_EQ(one.hash, PackSchema(other_).hash);
  v1::Schema back;
  ASSERT_OK(UnpackSchema(one.bytes, &back));
  EXPECT_EQ(back.SerializeAsString(), one_.SerializeAsString());
  b_->mutable_columns(1)->set_type("text");
  EXPECT_NE(one.hash, PackSchema(other_).hash);
  EXPECT_TRUE(absl::IsDataLoss(UnpackSchema("nonsense", &back)));
  EXPECT_TRUE(absl::IsDataLoss(UnpackSchema(one.bytes.substr(0, one.bytes.size() / 2), &back)));
}

}  // namespace
}  // namespace bdr::postgres
