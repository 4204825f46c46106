// Lower case as the server sees it, for citext: two values are equal to it if lower() makes the
// same of both. That depends on the database's locale, which an agent's machine need not have.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "postgres/connection.h"

namespace bdr::postgres {

class LetterCase {
 public:
  // From a letter to its lower case, both as code points.
  using Table = absl::flat_hash_map<uint32_t, uint32_t>;
  explicit LetterCase(Table table) : table_(std::move(table)) {}

  // What the server's lower() makes of it; unset if it is not UTF-8.
  std::optional<std::string> Lower(absl::string_view text) const;

  // Equal where the same letters become the same, whichever server and process asks.
  uint64_t Fingerprint() const;

 private:
  const Table table_;
};

// Of the database's default collation. Null where lower() looks at more than one letter at a time,
// as ICU's does, or the encoding is not UTF-8: then it cannot be told outside of the server. Asks
// the server once for each locale in the process's life. Thread-safe.
absl::StatusOr<std::shared_ptr<const LetterCase>> LoadLetterCase(Connection& connection);

}  // namespace bdr::postgres
