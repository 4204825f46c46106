// Small facts that the agent must not forget, in the database's family `state`.
//
// Each has one name and one writer. Values are kept as bytes; numbers big-endian.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/lsn.h"
#include "base/origin.h"
#include "node-agent/changelog/block.h"
#include "node-agent/changelog/database.h"

namespace bdr::agent {

// Names in the family `state`.
inline constexpr absl::string_view kStateMembership = "membership";  // agent main: cached members
inline constexpr absl::string_view kStateIdentity = "identity";      // agent main: OriginId
// agent main: empty; there if names on the server are ServerNames::Of(), not Older()
inline constexpr absl::string_view kStateServerNames = "server_names";
inline constexpr absl::string_view kStateDataDirId = "data_dir_id";  // agent main: RandomId()
inline constexpr absl::string_view kStateCaptured = "captured";      // capture: CapturedState
inline constexpr absl::string_view kStateMerged = "merged";    // watcher: Lsn, see own_changes.h
inline constexpr absl::string_view kStateCeiling = "ceiling";  // promises: int64 µs
inline constexpr absl::string_view kStateClockRetired = "clock_retired";      // agent main: id
inline constexpr absl::string_view kStateSettingsActive = "settings_active";  // appliers: uint64
inline constexpr absl::string_view kStateEnd = "end/";              // change log: Cursor per origin
inline constexpr absl::string_view kStateTrimmed = "trimmed/";      // change log: Cursor per origin
inline constexpr absl::string_view kStateTruncates = "truncates/";  // change log: Lsn per origin
inline constexpr absl::string_view kStateFlushed = "flushed/";      // watcher: Lsn per origin
inline constexpr absl::string_view kStateSetBack = "set_back";      // server_past.h: why
inline constexpr absl::string_view kStateVersions = "versions/";    // appliers: Lsn per origin
inline constexpr absl::string_view kStateGap = "gap/";              // capture/gaps.h
inline constexpr absl::string_view kStateBefore = "before/";        // apply/group_versions.h
inline constexpr absl::string_view kStateUnsettled = "unsettled";   // schema/schema_watch.h
inline constexpr absl::string_view kStateSequences = "sequences";   // sequences/marks.h
inline constexpr absl::string_view kStateSettled = "settled";       // likewise: v1::Schema

// Stateless; thread-safe.
class State {
 public:
  explicit State(Database* database) : database_(database) {}

  absl::StatusOr<std::optional<std::string>> Get(absl::string_view name) const;
  absl::Status Put(absl::string_view name, absl::string_view value, bool sync);
  void Put(rocksdb::WriteBatch* batch, absl::string_view name, absl::string_view value) const;

 private:
  Database* const database_;
};

std::string EncodeU64(uint64_t value);
// kDataLoss if `bytes` is not eight bytes long.
absl::StatusOr<uint64_t> DecodeU64(absl::string_view bytes);

// For names such as "end/<origin>": six bytes that sort by node, then incarnation.
std::string EncodeOrigin(OriginId origin);
absl::StatusOr<OriginId> DecodeOrigin(absl::string_view bytes);

std::string EncodeCursor(const Cursor& cursor);
absl::StatusOr<Cursor> DecodeCursor(absl::string_view bytes);

}  // namespace bdr::agent
