// A byte position in the write-ahead log of one PostgreSQL server.
//
// Say in the variable's name whose log it is: positions of different servers do not compare.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bdr {

struct Lsn {
  uint64_t value = 0;

  bool valid() const { return value != 0; }
  friend auto operator<=>(const Lsn&, const Lsn&) = default;

  template <typename H>
  friend H AbslHashValue(H h, const Lsn& lsn) {
    return H::combine(std::move(h), lsn.value);
  }
};

// As PostgreSQL prints pg_lsn: "0/5A3F210".
std::string ToString(Lsn lsn);

// kInvalidArgument unless `text` is what PostgreSQL prints for a pg_lsn.
absl::StatusOr<Lsn> ParseLsn(absl::string_view text);

}  // namespace bdr
