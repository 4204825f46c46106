// Making rows what they are on another node, as if they had come from where they were written.
//
// A repaired row gets the commit time and, in the version store, the stamp and origin that it has
// on the node it is copied from. So every later change is judged against it as it is there, and
// nothing is replicated: the writes carry a replication origin, which capture passes over.
//
// No write that comes meanwhile may be lost. So a row is repaired only if, locked, it is still the
// version that the plan was made for, and no newer version of it is known. The key is registered
// among the keys in flight meanwhile, and stays known until capture has passed the repair: a local
// change that was committed before and captured after is then merged once more.
//
// The claims of the row's unique values are recorded with its version, and are in flight as well.
// Where a table folds, a row is made of its whole unstable history, which a repair does not carry:
// such a row is left alone, on both nodes, until all of its history is stable and forgotten. What
// stands in the table is then all there is to know of it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "node-agent/changelog/stores.h"
#include "node-agent/clocks/clocks.h"
#include "node-agent/inflight/in_flight.h"
#include "node-agent/positions/positions.h"
#include "node-agent/repair/image_claims.h"
#include "node-agent/tables/claim_reader.h"
#include "postgres/catalog.h"
#include "postgres/connection.h"

namespace bdr::v1 {
class ExportRowsRequest;
class ExportRowsResponse;
class RepairRowsRequest;
class RepairRowsRequest_Row;
class RepairRowsResponse;
class RepairRowsResponse_Row;
class RowImage;
}  // namespace bdr::v1

namespace bdr::agent {

// Thread-safe; repairs run one after another.
class RowRepair {
 public:
  struct Parts {  // all outlive it
    std::string conninfo;
    Stores stores;
    Positions positions;
    Clocks clocks;
    InFlight in_flight;
  };
  explicit RowRepair(Parts parts)
      : parts_(std::move(parts)),
        claim_reader_({.conninfo = parts_.conninfo, .application_name = "bdr repair claims"}) {}

  // The rows as they stand here, with their versions. `connection` is an idle one with text forms
  // pinned. kNotFound without such a table, kFailedPrecondition if it has no key.
  absl::Status Export(postgres::Connection& connection, const v1::ExportRowsRequest& request,
                      v1::ExportRowsResponse* response);

  // Each row in a transaction of its own; what became of each is in the response. An error means
  // that the rest was not tried.
  absl::Status Repair(const v1::RepairRowsRequest& request, v1::RepairRowsResponse* response);

 private:
  absl::Status Connect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // What this node knows of the row beyond what stands in the table.
  absl::Status FillKnown(uint32_t table_oid, const std::string& version_key,
                         v1::RowImage* image) const;
  // Where the server's WAL ends after the repair; nullopt if the session is lost.
  absl::StatusOr<std::optional<Lsn>> AskEnd() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // `number`: of the row among those whose claims were read.
  absl::Status RepairRow(const postgres::TableInfo& table, const v1::RepairRowsRequest_Row& row,
                         size_t number, const std::string& version_key, ImageClaims* claims,
                         v1::RepairRowsResponse_Row* out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Inside a transaction, which the caller ends: by a commit if the outcome is DONE.
  absl::Status Write(const postgres::TableInfo& table, const v1::RepairRowsRequest_Row& row,
                     v1::RepairRowsResponse_Row* out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Fills the outcome if the row is to be left alone for what this node knows.
  absl::Status Judge(uint32_t table_oid, const v1::RowImage& image, size_t number,
                     const std::string& version_key, ImageClaims* claims,
                     v1::RepairRowsResponse_Row* out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Changes of the row are kept, because its table folds and they were unstable lately.
  absl::StatusOr<bool> HasHistory(const std::string& version_key) const;
  // Whether this node knows a version of the row that is newer than the one to be written.
  absl::StatusOr<bool> KnowsNewer(uint32_t table_oid, const v1::RowImage& image,
                                  const std::string& version_key);

  const Parts parts_;
  Mutex mu_;  // held through a whole repair
  ClaimReader claim_reader_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<postgres::Connection> connection_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::agent
