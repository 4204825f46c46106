#include "seqam/install_sql.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "seqam/core_sql.h"
#include "seqam/registry.h"

namespace bdr::seqam {
namespace {

// By the ordinal's range, the least first.
std::string Branches() {
  std::string branches;
  for (const Method* method : Methods()) {
    if (!method->tag().has_value()) continue;
    absl::StrAppend(&branches, "    IF v BETWEEN ", FirstOrdinal(*method->tag(), 0), " AND ",
                    FirstOrdinal(*method->tag() + 1, 0) - 1, " THEN  -- ", method->name(), "\n",
                    method->NextvalSql(), "    END IF;\n");
  }
  return branches;
}

}  // namespace

std::string InstallSql() {
  std::string sql;
  for (const Method* method : Methods()) absl::StrAppend(&sql, method->InstallSql());
  absl::StrAppend(&sql, absl::StrReplaceAll(kCoreSql, {{"@BRANCHES@", Branches()}}));
  return sql;
}

}  // namespace bdr::seqam
