// Which table a relation is that the server announces to capture, and what follows from that.
//
// The server describes a relation as it was when the row was written; the catalog is today's. So a
// relation is found by its OID, under the names of today, and told apart from later announcements
// of the same OID.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "node-agent/capture/captured_relation.h"
#include "node-agent/capture/wire_forms.h"
#include "node-agent/cluster/settings.h"
#include "node-agent/tables/column_map.h"
#include "node-agent/tables/table_cache.h"
#include "postgres/connection.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// Not thread-safe: belongs to a session of capture.
class OwnRelations {
 public:
  // pgoutput's Type messages, by the type's OID.
  using Types = absl::flat_hash_map<uint32_t, std::string>;

  // All outlive it.
  OwnRelations(const std::string& conninfo, const Settings* settings, TableCache* tables)
      : settings_(settings),
        tables_(tables),
        forms_({.conninfo = conninfo, .application_name = "bdr capture forms"}) {}

  // Looks the relation's table up, so that changes of it can be added. What no longer fits the
  // table of today has no columns: its changes go out as they are, and no versions are kept. Waits
  // for a user's lock on the table, for a while; kUnavailable and the like if nothing could be
  // found out, which is to be tried again.
  absl::StatusOr<std::shared_ptr<const CapturedRelation>> Announce(
      absl::string_view raw, postgres::RelationMessage message);
  void AnnounceType(uint32_t oid, absl::string_view raw) { types_[oid] = std::string(raw); }

  // Whether an administrator has said of tables what they have become, since the last call: then
  // what was announced before is to be announced again. On 15 the server itself does not, where a
  // table was moved with its whole schema.
  bool MustLookAgain();

  const Types& types() const { return types_; }
  // Gives values the forms in which they travel; to be done before they are written.
  WireForms& forms() { return forms_; }

 private:
  TypeNames TypesOf(const postgres::RelationMessage& relation) const;

  const Settings* const settings_;
  TableCache* const tables_;
  WireForms forms_;
  Types types_;
  uint64_t settings_generation_ = 0;  // as of which relations were looked up
};

}  // namespace bdr::agent
