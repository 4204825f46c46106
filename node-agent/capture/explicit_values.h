// Own updates that leave a large value alone, made to carry it where others could take another for
// it.
//
// Where an applier got a row's large values from a newer version than the row is of, the row is
// marked as disputed. A local update of that row means the values that stood here; elsewhere others
// stand. So it is published with what stands here now. That may be of a later change, which is on
// its way with a later stamp.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "conflict/version_store.h"
#include "node-agent/tables/column_map.h"
#include "postgres/connection.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// Not thread-safe. Owns a connection of its own, opened when it is needed.
class ExplicitValues {
 public:
  // `versions` outlives it.
  ExplicitValues(postgres::ConnectOptions options, const conflict::VersionStore* versions)
      : options_(std::move(options)), versions_(versions) {}

  // `change` is pgoutput's Update, `update` the same decoded. Unset: it may go out as it is.
  // kUnavailable if the server cannot be asked.
  absl::StatusOr<std::optional<std::string>> Rewrite(const ColumnMap& columns,
                                                     const postgres::UpdateMessage& update,
                                                     absl::string_view change);

 private:
  absl::StatusOr<bool> IsDisputed(const ColumnMap& columns, const postgres::UpdateMessage& update);
  absl::StatusOr<postgres::Result> Read(const ColumnMap& columns,
                                        const postgres::UpdateMessage& update);

  const postgres::ConnectOptions options_;
  const conflict::VersionStore* const versions_;
  std::unique_ptr<postgres::Connection> connection_;
};

}  // namespace bdr::agent
