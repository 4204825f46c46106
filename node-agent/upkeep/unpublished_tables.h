// Tables that are not published, so that nothing of them travels: made by anyone since the
// publications were last put in order, or dropped and made again.
//
// They are put into their publication by bdr.sync_publications(), which an administrator's setup
// has left for the agent to call; or only told of, if the configuration says so. What was written
// to a table before it was published never travels. So that this is known exactly, writers are kept
// out while it is published; if they cannot be for long, the table counts as one that held rows.
//
// A table that is in the wrong publication (its key was dropped, or it got one) is only told of: in
// between two statements of somebody's it may be there for a moment, and in bdr_insert_only its
// updates would be left out in silence.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/health.h"
#include "base/mutex.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Look() is for one thread; health() for any.
class UnpublishedTables {
 public:
  // `publish`: put new tables into their publication.
  explicit UnpublishedTables(bool publish) : publish_(publish) {}

  // Call it every few milliseconds. Does nothing while no transaction has ended since the last
  // look: by `xmin` and `xmax` of the server's snapshot. Outside of a transaction. Errors of the
  // connection alone; what else fails is told by health().
  absl::Status Look(postgres::Connection* connection, uint64_t xmin, uint64_t xmax);

  Health health() const;

 private:
  struct Table {
    std::string oid;
    std::string name;  // quoted
  };
  struct Published {
    std::string name;
    absl::Time at;
  };

  absl::Status LookNow(postgres::Connection* connection);
  absl::Status Publish(postgres::Connection* connection, const std::vector<Table>& tables);
  // `alone`: no table is in the wrong publication.
  absl::StatusOr<std::string> PublishOrTell(postgres::Connection* connection,
                                            const std::vector<Table>& missing, bool alone);
  absl::Status GiveMissingRights(postgres::Connection* connection);
  absl::Status GiveRights(postgres::Connection* connection);
  absl::Status Sync(postgres::Connection* connection, size_t most_added);
  void Tell(const std::string& reason);

  const bool publish_;
  uint64_t xmin_ = 0;
  uint64_t xmax_ = 0;
  absl::Time next_ = absl::InfinitePast();
  int lock_attempts_ = 0;

  mutable Mutex mu_;
  std::string reason_ ABSL_GUARDED_BY(mu_);
  absl::Time since_ ABSL_GUARDED_BY(mu_);
  std::vector<Published> held_rows_ ABSL_GUARDED_BY(mu_);
};

}  // namespace bdr::agent
