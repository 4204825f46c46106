// The example of docs/sequences.md does what that says.
#include "seqam/example/tail.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "seqam/install_sql.h"
#include "seqam/registry.h"
#include "seqam/sequences_testing.h"
#include "tests/harness/postgres_test.h"

namespace bdr::seqam {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TailTest : public harness::PostgresTest {};

TEST_F(TailTest, AMethodThatWasAddedIsOneLikeAllOthers) {
  std::vector<const Method*> methods(Methods().begin(), Methods().end());
  methods.push_back(Tail());
  for (int node = 1; node <= 2; ++node) {
    const std::string database = absl::StrCat("node", node);
    ASSERT_OK(MakeNode(*server_, database));
    ASSERT_OK(server_->Exec(
        absl::StrCat("BEGIN; SET LOCAL search_path = pg_catalog, pg_temp;", InstallSql(methods),
                     "COMMIT; CREATE TABLE public.t (id bigserial PRIMARY KEY, v int);"
                     "CREATE TABLE public.u (id bigserial PRIMARY KEY, v int);"
                     "SELECT bdr.convert_sequence('public.t_id_seq', 'tail', 1, ",
                     node, ", 5), bdr.convert_sequence('public.u_id_seq', 'snowflake', 2, ", node,
                     ", 5)"),
        database));
    ASSERT_OK_AND_ASSIGN(const auto session, server_->Connect("postgres", database));
    ASSERT_OK_AND_ASSIGN(
        const std::vector<int64_t> ids,
        Ids(*session, "INSERT INTO public.t (v) VALUES (1), (2), (3) RETURNING id"));
    EXPECT_THAT(ids, ElementsAre(10000 + node, 20000 + node, 30000 + node));
    EXPECT_EQ(*session->QueryValue("SELECT bdr.currval('public.t_id_seq')"),
              absl::StrCat(30000 + node));
    EXPECT_EQ(*session->QueryValue("SELECT bdr.setval('public.t_id_seq', 7)"), "7");
    EXPECT_THAT(
        std::string(
            session->Exec("SELECT bdr.setval('public.t_id_seq', 77777)").status().message()),
        HasSubstr("tail"));
    // The others are in nobody's way.
    ASSERT_OK(session->Exec("INSERT INTO public.u (v) VALUES (1)"));
  }
}

}  // namespace
}  // namespace bdr::seqam
