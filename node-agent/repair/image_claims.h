// The unique values beside the key that rows lay claim to which a repair writes.
//
// A version whose claims are not known would lose to nobody and unseat nobody here, unlike on the
// nodes that it comes from (docs/architecture.md, "Unique values beside the key").
#pragma once

#include <rocksdb/write_batch.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "conflict/claim_store.h"
#include "conflict/stamp.h"
#include "node-agent/tables/bound_table.h"
#include "node-agent/tables/claim_reader.h"
#include "postgres/catalog.h"
#include "postgres/connection.h"

namespace bdr::v1 {
class RowImage;
}  // namespace bdr::v1

namespace bdr::agent {

// Not thread-safe. What it is made with outlives it.
class ImageClaims {
 public:
  ImageClaims(const conflict::ClaimStore* store, ClaimReader* reader)
      : store_(store), reader_(reader) {}

  // What each image claims; `table` with its constraints. An image whose values the local types do
  // not take claims nothing: it cannot be written either. `connection` is in no transaction and has
  // text forms pinned. Errors as of ClaimReader::Read().
  absl::Status Read(postgres::Connection& connection, const postgres::TableInfo& table,
                    absl::Span<const v1::RowImage* const> images);

  // The claims' names among the keys in flight.
  std::vector<std::string> InFlightKeys() const;
  // Whether another row than `version_key` is known to have claimed a value of the image with a
  // stamp later than `stamp`: then no node keeps the image as it is.
  absl::StatusOr<bool> ClaimedLater(size_t image, absl::string_view version_key,
                                    conflict::Stamp stamp);
  void Record(size_t image, absl::string_view version_key, conflict::Stamp stamp,
              rocksdb::WriteBatch* batch) const;

 private:
  const conflict::ClaimStore* const store_;
  ClaimReader* const reader_;
  std::shared_ptr<const BoundTable> table_;
  std::vector<RowClaims> claims_;  // by image; empty if the table has none
};

}  // namespace bdr::agent
