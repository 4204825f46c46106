// Records which unique values this node's own versions claim.
#pragma once

#include <rocksdb/write_batch.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "conflict/claim_store.h"
#include "conflict/stamp.h"
#include "node-agent/capture/captured_relation.h"
#include "node-agent/tables/bound_table.h"
#include "node-agent/tables/claim_reader.h"
#include "postgres/connection.h"

namespace bdr::agent {

// A row that a local transaction wrote.
struct OwnVersion {
  std::shared_ptr<const CapturedRelation> relation;
  absl::string_view change;  // pgoutput's Insert or Update
  absl::string_view version_key;
  conflict::Stamp stamp;
};

// Not thread-safe: belongs to capture.
class OwnClaims {
 public:
  OwnClaims(postgres::ConnectOptions options, const conflict::ClaimStore* store)
      : reader_(std::move(options)), store_(store) {}

  // Puts what the versions claim into `batch`, and returns for each how its claims are named among
  // the keys in flight. `types`: pgoutput's Type messages. A table that has changed its shape since
  // is passed over with a warning, as its rows' versions are. kUnavailable if PostgreSQL had to be
  // asked and could not be.
  absl::StatusOr<std::vector<std::vector<std::string>>> Record(
      absl::Span<const OwnVersion> versions,
      const absl::flat_hash_map<uint32_t, std::string>& types, rocksdb::WriteBatch* batch);

 private:
  struct Bound {
    std::shared_ptr<const CapturedRelation> relation;  // so that its address is not used again
    std::shared_ptr<const BoundTable> table;
  };
  absl::StatusOr<std::shared_ptr<const BoundTable>> Bind(
      const std::shared_ptr<const CapturedRelation>& relation,
      const absl::flat_hash_map<uint32_t, std::string>& types);
  absl::Status RecordTable(const BoundTable& table, absl::Span<const OwnVersion> versions,
                           absl::Span<const size_t> which, rocksdb::WriteBatch* batch,
                           std::vector<std::vector<std::string>>* in_flight);

  ClaimReader reader_;
  const conflict::ClaimStore* const store_;
  absl::flat_hash_map<const CapturedRelation*, Bound> bound_;
};

}  // namespace bdr::agent
