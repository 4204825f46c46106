// Values of a column that is declared otherwise where they come from than it is here: what can be
// taken over without losing anything is, and what cannot is told.
//
// A column's type is changed on one node after another, so for a while it differs, and changes that
// were captured before come with the old type long after. PostgreSQL itself would cut such values
// in silence: it rounds a numeric or a time to the column's own precision as it receives it, and
// drops blanks at the end of a varchar. Then nodes would differ for good.
//
// Pure: no database.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "postgres/catalog.h"

namespace bdr::postgres {

// How a column is declared where its values come from.
struct RemoteType {
  uint32_t oid = 0;  // of a built-in type, domains resolved; 0: of a user's type, or not known
  // As pg_attribute.atttypmod, -1 for none; unset if it is not known, as for a domain.
  std::optional<int32_t> modifier = -1;
};

// The built-in type of this name in pg_catalog, if its values can be converted; else 0.
uint32_t ConvertibleType(absl::string_view name);

// PostgreSQL rounds or cuts values of the type to a column's modifier as it receives them.
bool CutsInSilence(const TypeInfo& type);

// As SQL spells it, "numeric(5,1)"; unset for a type whose values cannot be converted.
std::optional<std::string> SpellType(uint32_t oid, int32_t modifier);

// Immutable.
class ValueConversion {
 public:
  enum class Way { kAsItIs, kConverted, kNone };
  struct Found {
    Way way = Way::kAsItIs;
    std::shared_ptr<const ValueConversion> conversion = nullptr;  // of kConverted
  };
  // kAsItIs: every value is one of the local column and can lose nothing there, or PostgreSQL would
  // refuse it with an error. kNone: the types have nothing in common.
  static Found Find(const RemoteType& remote, const TypeInfo& local, int32_t local_modifier);

  // The local column's value in binary form, for one in binary form; unset if it does not fit, or
  // is malformed.
  std::optional<std::string> Convert(absl::string_view value) const { return convert_(value); }

 private:
  using Function = std::function<std::optional<std::string>(absl::string_view)>;
  explicit ValueConversion(Function convert) : convert_(std::move(convert)) {}

  const Function convert_;
};

}  // namespace bdr::postgres
