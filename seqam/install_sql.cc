#include "seqam/install_sql.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "seqam/convert_sql.h"
#include "seqam/core_sql.h"
#include "seqam/intercept_sql.h"
#include "seqam/quick_sql.h"
#include "seqam/registry.h"
#include "seqam/session_sql.h"
#include "seqam/uuid_sql.h"

namespace bdr::seqam {
namespace {

using Span = absl::Span<const Method* const>;

// By the ordinal's range, the least first.
std::string Branches(Span methods) {
  std::string branches;
  for (const Method* method : methods) {
    if (!method->tag().has_value()) continue;
    absl::StrAppend(&branches, "    IF v BETWEEN ", FirstOrdinal(*method->tag(), 0), " AND ",
                    FirstOrdinal(*method->tag() + 1, 0) - 1, " THEN  -- ", method->name(), "\n",
                    method->NextvalSql(), "    END IF;\n");
  }
  return branches;
}

// Arms of a CASE over v >> kTagShift: whose method has a quick way goes there.
std::string QuickArms(Span methods) {
  std::string arms;
  for (const Method* method : methods) {
    if (method->QuickSql().empty()) continue;
    absl::StrAppend(&arms, "        WHEN ", FirstOrdinal(*method->tag(), 0) >> kTagShift,
                    " THEN bdr.sequence_id_", method->name(), "(v, m, s, register)\n");
  }
  return arms;
}

std::string QuickFunctions(Span methods) {
  std::string functions;
  for (const Method* method : methods) {
    if (method->QuickSql().empty()) continue;
    absl::StrAppend(&functions, absl::StrReplaceAll(kQuickSql, {{"@METHOD@", method->name()},
                                                                {"@ARMS@", method->QuickSql()}}));
  }
  return functions;
}

// A CASE over the ordinal's tag.
std::string ByTag(Span methods, absl::string_view (Method::*sql)() const) {
  std::string cases = "CASE (v >> 59) & 7";
  for (const Method* method : methods) {
    if (!method->tag().has_value()) continue;
    absl::StrAppend(&cases, "\n            WHEN ", *method->tag(), " THEN ", (method->*sql)());
  }
  return cases + " END";
}

// bdr.sequence_tag(method): NULL for those that leave the numbers to the sequence itself.
std::string TagSql(Span methods) {
  std::string cases;
  for (const Method* method : methods) {
    if (!method->tag().has_value()) continue;
    absl::StrAppend(&cases, " WHEN '", method->name(), "' THEN ", *method->tag());
  }
  return absl::StrCat(
      "CREATE OR REPLACE FUNCTION bdr.sequence_tag(method text) RETURNS int LANGUAGE sql IMMUTABLE "
      "AS $bdr$ SELECT CASE method",
      cases, " END $bdr$;\n");
}

}  // namespace

std::string InstallSql() { return InstallSql(Methods()); }

std::string InstallSql(Span methods) {
  // What all methods have in common is there before theirs.
  std::string sql = TagSql(methods);
  absl::StrAppend(
      &sql, absl::StrReplaceAll(kConvertSql, {{"@CEILING@", ByTag(methods, &Method::CeilingSql)}}));
  for (const Method* method : methods) absl::StrAppend(&sql, method->InstallSql());
  absl::StrAppend(&sql, absl::StrReplaceAll(kCoreSql, {{"@BRANCHES@", Branches(methods)},
                                                       {"@QUICK@", QuickArms(methods)}}));
  absl::StrAppend(&sql, QuickFunctions(methods));
  absl::StrAppend(
      &sql, absl::StrReplaceAll(kSessionSql, {{"@CURRVAL@", ByTag(methods, &Method::CurrvalSql)},
                                              {"@FLOOR@", ByTag(methods, &Method::FloorSql)}}));
  absl::StrAppend(&sql, kInterceptSql);
  absl::StrAppend(&sql, kUuidSql);
  return sql;
}

}  // namespace bdr::seqam
