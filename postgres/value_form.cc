#include "postgres/value_form.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "postgres/builtin_types.h"
#include "postgres/connection.h"

namespace bdr::postgres {
namespace {

// The text of a regproc or regoper leaves the arguments out, so that it means nothing where several
// have the name. The types beside them name these; empty for all others.
std::string WithArguments(const TypeInfo& type) {
  const bool array = type.kind == TypeInfo::Kind::kArray;
  const uint32_t oid = array ? type.element->oid : type.base_oid;
  if (oid == builtin::kRegproc) return array ? "regprocedure[]" : "regprocedure";
  if (oid == builtin::kRegoper) return array ? "regoperator[]" : "regoperator";
  return "";
}

}  // namespace

bool TravelsByColumn(absl::Span<const TypeInfo* const> types) {
  return std::any_of(types.begin(), types.end(), [](const TypeInfo* type) {
    return !type->receives || (!type->has_binary && type->oid != type->base_oid);
  });
}

bool TravelsInBinary(const TypeInfo& type, bool by_column) {
  return type.has_binary && !(by_column && type.kind == TypeInfo::Kind::kArray);
}

std::string QualifiedTypeName(const TypeInfo& type) {
  return absl::StrCat(QuoteIdentifier(type.schema), ".", QuoteIdentifier(type.name));
}

std::string TextOfSql(const TypeInfo& type, absl::string_view value) {
  const std::string wider = WithArguments(type);
  if (wider.empty()) return absl::StrCat("(", value, ")::pg_catalog.text");
  return absl::StrCat("(", value, ")::pg_catalog.", wider, "::pg_catalog.text");
}

std::string FromTextSql(const TypeInfo& type, absl::string_view text) {
  const std::string name = QualifiedTypeName(type);
  // The cast from text knows neither numbers nor '-', which name what is gone and nothing at all.
  if (type.base_oid == builtin::kRegclass) {
    return absl::StrCat("pg_catalog.regclassin(pg_catalog.textout(", text, "))::", name);
  }
  const std::string wider = WithArguments(type);
  if (wider.empty()) return absl::StrCat("(", text, ")::", name);
  return absl::StrCat("CASE WHEN pg_catalog.strpos(", text, ", '(') > 0 THEN (", text,
                      ")::pg_catalog.", wider, "::", name, " ELSE (", text, ")::", name, " END");
}

}  // namespace bdr::postgres
