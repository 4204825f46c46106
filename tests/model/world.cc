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

bool Transaction::Superseded(size_t change) const {
  for (size_t i = change + 1; i < changes.size(); ++i) {
    if (changes[i].kind == Kind::kTruncate || changes[i].key == changes[change].key) return true;
  }
  return false;
}

bool Transaction::Whole(size_t change) const {
  for (size_t i = 0; i < change; ++i) {
    if (changes[i].kind == Kind::kTruncate) return true;
    if (changes[i].key == changes[change].key) return changes[i].kind != Kind::kUpdate;
  }
  return changes[change].kind == Kind::kInsert;
}

}  // namespace bdr::model
