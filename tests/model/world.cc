#include "tests/model/world.h"

#include "absl/strings/str_cat.h"

namespace bdr::model {

std::string Describe(const Content& row, int constraints) {
  std::string out = absl::StrCat("#", row.note);
  if ((constraints & (kUniqueU | kExpression)) != 0) absl::StrAppend(&out, " u=", row.u);
  if ((constraints & (kPartialW | kExpression)) != 0) absl::StrAppend(&out, " w=", row.w);
  if ((constraints & kPartialW) != 0 && row.active) absl::StrAppend(&out, " active");
  if ((constraints & kExclusion) != 0 && row.from != kNone) {
    absl::StrAppend(&out, " [", row.from, ",", row.to, "]");
  }
  return out;
}

std::string Describe(const Change& change, int constraints) {
  switch (change.kind) {
    case Kind::kInsert:
      return absl::StrCat("insert ", change.key, " ", Describe(change.row, constraints));
    case Kind::kUpdate:
      return absl::StrCat("update ", change.key, " ", Describe(change.row, constraints));
    case Kind::kDelete:
      return absl::StrCat("delete ", change.key);
    case Kind::kTruncate:
      return "truncate";
  }
  return "";
}

}  // namespace bdr::model
