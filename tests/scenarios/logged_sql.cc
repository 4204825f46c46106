#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "tests/scenarios/play.h"

namespace bdr::scenarios {
namespace {

std::string Literal(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "''"}}), "'");
}

// A column, or a field of one that is jsonb, as text.
std::string AsText(const std::string& column) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(column, absl::MaxSplits('.', 1));
  return parts.second.empty() ? absl::StrCat(parts.first, "::text")
                              : absl::StrCat(parts.first, " ->> ", Literal(parts.second));
}

}  // namespace

std::string CountLoggedSql(const Logged& logged) {
  std::string sql = "SELECT count(*) FROM bdr.conflict_log";
  if (logged.nothing) return sql;
  absl::StrAppend(&sql, " WHERE kind = ", Literal(logged.kind),
                  " AND relation = ", Literal(logged.relation));
  for (const auto& [column, value] : logged.fields) {
    absl::StrAppend(&sql, " AND ", AsText(column), " = ", Literal(value));
  }
  for (const std::string& column : logged.present) {
    absl::StrAppend(&sql, " AND ", AsText(column), " IS NOT NULL");
  }
  for (const std::string& column : logged.absent) {
    absl::StrAppend(&sql, " AND ", AsText(column), " IS NULL");
  }
  if (logged.older == "local") absl::StrAppend(&sql, " AND local_stamp < remote_stamp");
  if (logged.older == "remote") absl::StrAppend(&sql, " AND remote_stamp < local_stamp");
  return sql;
}

}  // namespace bdr::scenarios
