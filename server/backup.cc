#include "server/backup.h"

#include <openssl/sha.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "bdr/v1/control.pb.h"
#include "bdr/v1/store.pb.h"
#include "server/cluster.h"
#include "server/locks.h"
#include "server/schema_cache.h"
#include "server/sequences/allocator.h"
#include "server/store_keys.h"

namespace bdr::server {
namespace {

constexpr absl::string_view kMagic = "bdr-server backup 1 ";

std::string Sha256(absl::string_view bytes) {
  unsigned char hash[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), hash);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(hash), sizeof(hash)));
}

absl::StatusOr<v1::Backup> Parse(absl::string_view bytes) {
  if (!absl::ConsumePrefix(&bytes, kMagic)) {
    return absl::InvalidArgumentError(
        "it is no backup that \"bdrctl cluster backup\" of this version has written");
  }
  constexpr size_t kHashLength = 2 * SHA256_DIGEST_LENGTH;
  const absl::string_view hash = bytes.substr(0, kHashLength);
  const absl::string_view content = bytes.substr(std::min(bytes.size(), kHashLength + 1));
  v1::Backup backup;
  if (hash != Sha256(content) || !backup.ParseFromArray(content.data(), content.size())) {
    return absl::DataLossError("its checksum is wrong: it was cut short or changed; take another");
  }
  return backup;
}

// In a backup: other fields hold these.
bool HasItsOwnPlace(absl::string_view key) {
  return key == kClusterKey || absl::StartsWith(key, kSchemaPrefix);
}

absl::Status PutOver(Store* store, const std::string& key, const std::string& value) {
  const absl::StatusOr<StoreEntry> present = store->Get(key);
  if (!present.ok() && !absl::IsNotFound(present.status())) return present.status();
  return store->Put(key, value, present.ok() ? present->revision : 0).status();
}

}  // namespace

absl::StatusOr<std::string> MakeBackup(Store* store, int64_t now_us) {
  const absl::StatusOr<StoreEntry> cluster = store->Get(kClusterKey);
  if (absl::IsNotFound(cluster.status())) {
    return absl::FailedPreconditionError(
        "this bdr-server keeps no cluster that could be backed up");
  }
  RETURN_IF_ERROR(cluster.status());
  v1::Backup backup;
  backup.set_taken_us(now_us);
  if (!backup.mutable_cluster()->ParseFromString(cluster->value)) {
    return absl::InternalError("the store's entry \"cluster\" is damaged: it cannot be backed up");
  }
  ASSIGN_OR_RETURN(const std::vector<StoreEntry> schemas, store->List(kSchemaPrefix));
  for (const StoreEntry& entry : schemas) {
    if (backup.add_schemas()->ParseFromString(entry.value)) continue;
    return absl::InternalError(
        absl::StrCat("the store's entry \"", entry.key, "\" is damaged: it cannot be backed up"));
  }
  ASSIGN_OR_RETURN(const std::vector<StoreEntry> all, store->List(""));
  for (const StoreEntry& entry : all) {
    if (!Outlives(entry.key) || HasItsOwnPlace(entry.key)) continue;
    v1::BackupEntry* other = backup.add_others();
    other->set_key(entry.key);
    other->set_value(entry.value);
  }
  const std::string content = backup.SerializeAsString();
  return absl::StrCat(kMagic, Sha256(content), "\n", content);
}

absl::StatusOr<RestoredBackup> RestoreBackup(absl::string_view bytes, Store* store,
                                             int64_t now_us) {
  ASSIGN_OR_RETURN(v1::Backup backup, Parse(bytes));
  ASSIGN_OR_RETURN(ClusterState state, FromProto(backup.cluster()));
  const absl::StatusOr<StoreEntry> present = store->Get(kClusterKey);
  if (present.ok()) {
    return absl::FailedPreconditionError(
        "it keeps a cluster already, which a backup must not replace: move data_dir away first, or "
        "name another one, or another prefix in etcd");
  }
  if (!absl::IsNotFound(present.status())) return present.status();
  const absl::Status moved = store->Get(kMovedKey).status();
  if (moved.ok()) {
    return absl::FailedPreconditionError(
        "it is part of a move of the state to another store (\"bdrctl server migrate\"), which is "
        "not finished: finish that, or name another data_dir, or another prefix in etcd");
  }
  if (!absl::IsNotFound(moved)) return moved;
  // What agents have told this store already is newer than the backup: their marks stay. That they
  // were heard does not count any more, as they may know more than the state that comes now.
  SequenceAllocator allocator(store);
  for (const v1::BackupEntry& other : backup.others()) {
    v1::SequenceState sequence;
    const bool is_sequence = absl::StartsWith(other.key(), kSequencePrefix);
    if (is_sequence && sequence.ParseFromString(other.value())) {
      RETURN_IF_ERROR(allocator.Learn({sequence}));
    } else {
      RETURN_IF_ERROR(PutOver(store, other.key(), other.value()));
    }
  }
  ASSIGN_OR_RETURN(const std::vector<StoreEntry> heard, store->List(kWitnessPrefix));
  for (const StoreEntry& witness : heard) {
    RETURN_IF_ERROR(store->Commit({.compares = {}, .writes = {{.key = witness.key}}}).status());
  }
  // What locks have given out since the backup was made is not in it.
  ASSIGN_OR_RETURN(const uint64_t base, NextTokenBase(store, now_us));
  RETURN_IF_ERROR(PutOver(store, kTokenBaseKey, absl::StrCat(base)));
  for (const v1::NodeSchema& schema : backup.schemas()) {
    RETURN_IF_ERROR(
        PutOver(store, absl::StrCat(kSchemaPrefix, schema.node()), schema.SerializeAsString()));
  }
  state.restored = true;
  v1::ClusterState restored;
  ToProto(state, &restored);
  RETURN_IF_ERROR(store->Put(kClusterKey, restored.SerializeAsString(), 0).status());
  return RestoredBackup{.state = std::move(state), .taken_us = backup.taken_us()};
}

}  // namespace bdr::server
