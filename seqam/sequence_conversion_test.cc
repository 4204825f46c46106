// A sequence goes from any method to any other, with its columns, its identity and its numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "seqam/sequences_testing.h"
#include "tests/harness/postgres_test.h"

namespace bdr::seqam {
namespace {

using ::testing::IsEmpty;
using ::testing::StartsWith;

class SequenceConversionTest : public harness::PostgresTest,
                               public ::testing::WithParamInterface<const char*> {};

// How the column is declared.
INSTANTIATE_TEST_SUITE_P(Columns, SequenceConversionTest,
                         ::testing::Values("bigserial", "bigint GENERATED ALWAYS AS IDENTITY"));

TEST_P(SequenceConversionTest, FromAnyMethodToAnyOther) {
  ASSERT_OK(MakeNode(*server_, "app"));
  ASSERT_OK_AND_ASSIGN(const auto session, server_->Connect("postgres", "app"));
  ASSERT_OK(
      session->Exec(absl::StrCat("CREATE TABLE public.t (id ", GetParam(),
                                 " PRIMARY KEY, v int); INSERT INTO public.t (v) VALUES (1)")));
  const auto value = [&](const std::string& sql) {
    return session->QueryValue(sql).value_or("an error");
  };
  const std::string identity =
      "SELECT attidentity FROM pg_attribute WHERE attrelid = 'public.t'::regclass AND attnum = 1";
  const std::string expression =
      "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'public.t'::regclass";
  const std::string declared = value(identity);
  std::vector<int64_t> all = {1};
  // Each follows each.
  for (const std::string method :
       {"stepped", "snowflake", "stepped_blocks", "stepped", "stepped_blocks", "snowflake",
        "stepped", "local", "snowflake", "local", "stepped_blocks", "local", "stepped", "local"}) {
    ASSERT_OK_AND_ASSIGN(
        const std::vector<int64_t> highest,
        Ids(*session,
            "SELECT greatest(bdr.sequence_highest('public.t_id_seq'), max(id)) FROM public.t"));
    ASSERT_OK(session->Exec(absl::StrCat("SELECT bdr.convert_sequence('public.t_id_seq', '", method,
                                         "', 5, 3, ", highest[0] + 1,
                                         ", '{\"block\": 1048576, \"slots\": 4, \"slot\": 3}')")))
        << method;
    const bool by_default = method == "snowflake" || method == "stepped_blocks";
    // Only PostgreSQL's own nextval() draws for an identity. From another method it comes back with
    // "local"; it stays where the first method leaves it.
    if (by_default) {
      EXPECT_EQ(value(identity), "") << method;
    } else if (method == "local" || all.size() == 1) {
      EXPECT_EQ(value(identity), declared) << method;
    }
    if (by_default) {
      EXPECT_THAT(value(expression), StartsWith(absl::StrCat("bdr.nextval_", method, "(")));
    }
    ASSERT_OK_AND_ASSIGN(
        const std::vector<int64_t> ids,
        Ids(*session, "INSERT INTO public.t (v) SELECT generate_series(1, 20) RETURNING id"));
    for (const int64_t id : ids) EXPECT_GT(id, highest[0]) << method;
    all.insert(all.end(), ids.begin(), ids.end());
    // A number that a session still holds, and no row has.
    ASSERT_OK_AND_ASSIGN(
        const std::vector<int64_t> held,
        Ids(*session, method == "local" ? "SELECT nextval('public.t_id_seq')"
                                        : "SELECT bdr.nextval('public.t_id_seq')"));
    EXPECT_GT(held[0], highest[0]) << method;
    all.push_back(held[0]);
  }
  EXPECT_THAT(Duplicates(all), IsEmpty());
  EXPECT_EQ(
      value("SELECT count(*) FROM pg_class WHERE relkind = 'S' AND relname LIKE 'sequence_5%'"),
      "0");
  EXPECT_EQ(value("SELECT string_agg(register::text, ' ') FROM bdr.sequence_lock"), "bdr.uuid_v7");
}

// While other nodes are converted already, whose numbers begin above the cap.
TEST_P(SequenceConversionTest, UntilItIsConvertedASteppedSequenceKeepsToTheCap) {
  ASSERT_OK(MakeNode(*server_, "app"));
  ASSERT_OK_AND_ASSIGN(const auto session, server_->Connect("postgres", "app"));
  ASSERT_OK(session->Exec(absl::StrCat(
      "CREATE TABLE public.t (id ", GetParam(),
      " PRIMARY KEY, v int); SELECT bdr.convert_sequence('public.t_id_seq', 'stepped', 5, 3, 1, "
      "'{\"slots\": 4, \"slot\": 3}')")));
  ASSERT_OK(session->Exec("SELECT bdr.cap_sequence('public.t_id_seq', 12)"));
  EXPECT_THAT(Ids(*session, "INSERT INTO public.t (v) VALUES (1), (2), (3) RETURNING id").value(),
              ::testing::ElementsAre(3, 7, 11));
  EXPECT_FALSE(session->Exec("INSERT INTO public.t (v) VALUES (4)").ok());
  EXPECT_FALSE(session->Exec("SELECT bdr.stepped_cap('public.t_id_seq')").ok());
  ASSERT_OK(
      session->Exec("SELECT bdr.convert_sequence('public.t_id_seq', 'stepped_blocks', 5, 3, 13, "
                    "'{\"block\": 16, \"slots\": 4, \"slot\": 3}')"));
  EXPECT_THAT(Ids(*session, "INSERT INTO public.t (v) VALUES (1) RETURNING id").value(),
              ::testing::ElementsAre(64));
  ASSERT_OK(session->Exec("SELECT bdr.convert_sequence('public.t_id_seq', 'local', 5, 3, 100)"));
  EXPECT_EQ(session
                ->QueryValue("SELECT seqmax FROM pg_sequence WHERE seqrelid = "
                             "pg_get_serial_sequence('public.t', 'id')::regclass")
                .value_or("an error"),
            "9223372036854775807");
}

}  // namespace
}  // namespace bdr::seqam
