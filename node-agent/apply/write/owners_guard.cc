#include "node-agent/apply/write/owners_guard.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "node-agent/tables/row_sql.h"
#include "postgres/owners_code.h"

namespace bdr::agent {
namespace {

constexpr uint32_t kTextOid = 25;

}  // namespace

absl::Status GuardOwnersCode(Pipe* pipe, absl::Span<const BoundTable* const> tables) {
  std::vector<std::string> oids, owners, stamps;
  for (const BoundTable* table : tables) {
    RETURN_IF_ERROR(postgres::MayRunCode(table->table()));
    oids.push_back(absl::StrCat(table->table().oid));
    owners.push_back(absl::StrCat(table->table().owner));
    stamps.push_back(table->table().code_stamp);
  }
  if (oids.empty()) return absl::OkStatus();
  return pipe->Run(
      "bdr code",
      [] {
        return std::string(
            "SELECT bdr.require_code($1::pg_catalog.oid[], $2::pg_catalog.oid[], "
            "$3::pg_catalog.text[])");
      },
      {kTextOid, kTextOid, kTextOid},
      {ArrayLiteral(oids), ArrayLiteral(owners), ArrayLiteral(stamps)}, nullptr);
}

}  // namespace bdr::agent
