#include "node-agent/changelog/change_log.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/test_hooks.h"
#include "node-agent/changelog/state.h"

namespace bdr::agent {
namespace {

// Key: origin (6 bytes), commit end LSN of the block's last transaction (8), part (4); big-endian,
// so that RocksDB's order is the origin's.
std::string BlockKey(OriginId origin, Lsn end_lsn, uint32_t part) {
  std::string key = EncodeOrigin(origin);
  key += EncodeU64(end_lsn.value);
  for (int shift = 24; shift >= 0; shift -= 8) key.push_back(static_cast<char>(part >> shift));
  return key;
}

std::string StateName(absl::string_view prefix, OriginId origin) {
  return absl::StrCat(prefix, EncodeOrigin(origin));
}

bool Before(const Cursor& a, const Cursor& b) {
  return std::pair(a.end_lsn, a.part) < std::pair(b.end_lsn, b.part);
}

bool SamePlace(const Cursor& a, const Cursor& b) {
  return a.end_lsn == b.end_lsn && a.part == b.part;
}

std::string Describe(OriginId origin, const Cursor& cursor) {
  return absl::StrCat("origin ", ToString(origin), " at ", ToString(cursor.end_lsn), " part ",
                      cursor.part);
}

// About as many ranges as a read can take without being felt.
constexpr int kMostTrimsInMemory = 500;

}  // namespace

absl::StatusOr<std::unique_ptr<ChangeLog>> ChangeLog::Open(Database* database) {
  std::unique_ptr<ChangeLog> log(new ChangeLog(database));
  RETURN_IF_ERROR(log->Load());
  RETURN_IF_ERROR(log->RemoveHidden());
  return log;
}

// What lies beyond an origin's end is part of a transaction whose last part was never written.
absl::Status ChangeLog::RemoveHidden() {
  MutexLock append(&append_mu_);
  const std::unique_ptr<rocksdb::Iterator> it(
      database_->db()->NewIterator(rocksdb::ReadOptions(), database_->log()));
  rocksdb::WriteBatch batch;
  it->SeekToFirst();
  while (it->Valid()) {
    ASSIGN_OR_RETURN(const OriginId origin, DecodeOrigin({it->key().data(), 6}));
    const Cursor end = End(origin);
    const std::string past_origin = BlockKey(origin, Lsn{UINT64_MAX}, UINT32_MAX);
    (void)batch.DeleteRange(database_->log(),
                            BlockKey(origin, end.end_lsn, end.part) + std::string(1, '\0'),
                            past_origin);
    it->Seek(past_origin);
  }
  RETURN_IF_ERROR(FromRocksDb(it->status(), "cannot read the change log"));
  return batch.Count() == 0 ? absl::OkStatus() : database_->Write(&batch, /*sync=*/false);
}

absl::Status ChangeLog::Load() {
  const std::unique_ptr<rocksdb::Iterator> it(
      database_->db()->NewIterator(rocksdb::ReadOptions(), database_->state()));
  MutexLock lock(&mu_);
  for (const absl::string_view prefix : {kStateEnd, kStateTrimmed}) {
    for (it->Seek({prefix.data(), prefix.size()}); it->Valid(); it->Next()) {
      absl::string_view name(it->key().data(), it->key().size());
      if (!absl::ConsumePrefix(&name, prefix)) break;
      ASSIGN_OR_RETURN(const OriginId origin, DecodeOrigin(name));
      ASSIGN_OR_RETURN(const Cursor cursor, DecodeCursor({it->value().data(), it->value().size()}));
      (prefix == kStateEnd ? logs_[origin].end : logs_[origin].trimmed) = cursor;
    }
    RETURN_IF_ERROR(FromRocksDb(it->status(), "cannot read where the change log ends"));
  }
  for (auto& [origin, log] : logs_) {
    ASSIGN_OR_RETURN(const std::optional<std::string> truncates,
                     State(database_).Get(StateName(kStateTruncates, origin)));
    if (truncates.has_value()) {
      ASSIGN_OR_RETURN(log.truncates.value, DecodeU64(*truncates));
    }
    log.complete = log.end.end_lsn;
    if (SamePlace(log.end, log.trimmed) || log.end.at_beginning()) continue;
    std::string bytes;
    RETURN_IF_ERROR(
        FromRocksDb(database_->db()->Get(rocksdb::ReadOptions(), database_->log(),
                                         BlockKey(origin, log.end.end_lsn, log.end.part), &bytes),
                    absl::StrCat("cannot read the last block of ", Describe(origin, log.end))));
    ASSIGN_OR_RETURN(const BlockInfo info, ParseBlock(bytes));
    if (info.more_parts) log.complete = Lsn{info.end_lsn.value - 1};
  }
  return absl::OkStatus();
}

absl::Status ChangeLog::AppendOwn(absl::Span<const EncodedBlock> blocks,
                                  rocksdb::WriteBatch* batch) {
  {
    MutexLock append(&append_mu_);
    for (const EncodedBlock& block : blocks) {
      (void)batch->Put(database_->log(),
                       BlockKey(block.info.origin, block.info.end_lsn, block.info.part),
                       block.bytes);
    }
    if (!blocks.empty()) {
      const BlockInfo& last = blocks.back().info;
      State(database_).Put(batch, StateName(kStateEnd, last.origin), EncodeCursor(last.cursor()));
    }
    const bool sync = !BDR_RULE_BROKEN("sync_before_ship");
    RETURN_IF_ERROR(database_->Write(batch, sync));
    if (!blocks.empty()) MoveEnd(blocks.back().info);
  }
  if (!blocks.empty()) Notify(blocks.back().info.origin);
  return absl::OkStatus();
}

absl::Status ChangeLog::WriteHidden(const EncodedBlock& block, rocksdb::WriteBatch* batch) {
  (void)batch->Put(database_->log(),
                   BlockKey(block.info.origin, block.info.end_lsn, block.info.part), block.bytes);
  return database_->Write(batch, /*sync=*/false);
}

absl::Status ChangeLog::AppendReceived(const EncodedBlock& block) {
  const OriginId origin = block.info.origin;
  const Cursor cursor = block.info.cursor();
  {
    MutexLock append(&append_mu_);
    const Cursor end = End(origin);
    if (!Before(end, cursor)) {
      if (SamePlace(end, cursor) && end.chain != cursor.chain) {
        return absl::DataLossError(absl::StrCat(
            "another history of ", Describe(origin, cursor),
            " is here already (same position, other checksum): the origin was set back or runs "
            "twice; find out which copy is right before going on"));
      }
      return absl::OkStatus();
    }
    if (block.info.previous_chain != end.chain) {
      return absl::DataLossError(
          absl::StrCat("the block of ", Describe(origin, cursor),
                       " does not follow ours, which ends at ", ToString(end.end_lsn), " part ",
                       end.part, ": a block is missing or the origin has another history"));
    }
    rocksdb::WriteBatch batch;
    (void)batch.Put(database_->log(), BlockKey(origin, cursor.end_lsn, cursor.part), block.bytes);
    State(database_).Put(&batch, StateName(kStateEnd, origin), EncodeCursor(cursor));
    if (!block.info.no_truncate) {
      State(database_).Put(&batch, StateName(kStateTruncates, origin),
                           EncodeU64(cursor.end_lsn.value));
    }
    RETURN_IF_ERROR(database_->Write(&batch, /*sync=*/false));
    BDR_FAIL_POINT("receive_after_write");
    MoveEnd(block.info);
  }
  Notify(origin);
  return absl::OkStatus();
}

absl::Status ChangeLog::StartAt(OriginId origin, const Cursor& cursor) {
  MutexLock append(&append_mu_);
  const OriginLog log = Find(origin);
  if (SamePlace(log.trimmed, cursor)) return absl::OkStatus();
  if (!SamePlace(log.end, log.trimmed)) {
    return absl::AlreadyExistsError(
        absl::StrCat("the log of ", Describe(origin, log.end), " has begun already"));
  }
  rocksdb::WriteBatch batch;
  State(database_).Put(&batch, StateName(kStateEnd, origin), EncodeCursor(cursor));
  State(database_).Put(&batch, StateName(kStateTrimmed, origin), EncodeCursor(cursor));
  RETURN_IF_ERROR(database_->Write(&batch, /*sync=*/true));
  MutexLock lock(&mu_);
  logs_[origin] = {
      .end = cursor, .trimmed = cursor, .complete = cursor.end_lsn, .truncates = log.truncates};
  return absl::OkStatus();
}

void ChangeLog::MoveEnd(const BlockInfo& last) {
  MutexLock lock(&mu_);
  OriginLog& log = logs_[last.origin];
  log.end = last.cursor();
  if (!last.more_parts) log.complete = last.end_lsn;
  if (!last.no_truncate) log.truncates = last.end_lsn;
  grown_.NotifyAll();
}

// Listeners run under their own lock, so that removing one waits for its calls to end.
void ChangeLog::Notify(OriginId origin) {
  MutexLock lock(&listeners_mu_);
  for (const auto& [handle, listener] : listeners_) listener(origin);
}

ChangeLog::OriginLog ChangeLog::Find(OriginId origin) const {
  MutexLock lock(&mu_);
  const auto found = logs_.find(origin);
  return found == logs_.end() ? OriginLog{} : found->second;
}

Cursor ChangeLog::End(OriginId origin) const { return Find(origin).end; }

Lsn ChangeLog::CompleteThrough(OriginId origin) const { return Find(origin).complete; }

Lsn ChangeLog::TruncatesThrough(OriginId origin) const { return Find(origin).truncates; }

Cursor ChangeLog::TrimmedThrough(OriginId origin) const { return Find(origin).trimmed; }

uint64_t ChangeLog::BytesBetween(OriginId origin, Lsn after, Lsn through) const {
  if (through <= after) return 0;
  const std::string from = BlockKey(origin, after, UINT32_MAX);
  const std::string to = BlockKey(origin, through, UINT32_MAX);
  const rocksdb::Range range(from, to);
  rocksdb::SizeApproximationOptions options;
  options.include_memtables = true;
  options.include_files = true;
  uint64_t bytes = 0;
  const rocksdb::Status status =
      database_->db()->GetApproximateSizes(options, database_->log(), &range, 1, &bytes);
  return status.ok() ? bytes : 0;
}

std::vector<OriginId> ChangeLog::Origins() const {
  MutexLock lock(&mu_);
  std::vector<OriginId> origins;
  for (const auto& [origin, log] : logs_) origins.push_back(origin);
  std::sort(origins.begin(), origins.end());
  return origins;
}

absl::Status ChangeLog::CheckCursor(OriginId origin, const Cursor& cursor) const {
  const OriginLog log = Find(origin);
  const auto trimmed = [&] {
    return absl::FailedPreconditionError(
        absl::StrCat("the log of ", Describe(origin, cursor), " was already trimmed here up to ",
                     ToString(log.trimmed.end_lsn), "; the subscriber has to be copied anew"));
  };
  const auto forked = [&](absl::string_view why) {
    return absl::DataLossError(
        absl::StrCat("the histories of ", Describe(origin, cursor), " differ: ", why));
  };
  if (SamePlace(cursor, log.trimmed)) {
    return cursor.chain == log.trimmed.chain ? absl::OkStatus()
                                             : forked("other checksum at the same position");
  }
  if (Before(cursor, log.trimmed)) return trimmed();
  if (Before(log.end, cursor)) {
    return forked(absl::StrCat("the subscriber is ahead of this log, which ends at ",
                               ToString(log.end.end_lsn)));
  }
  std::string bytes;
  const rocksdb::Status status =
      database_->db()->Get(rocksdb::ReadOptions(), database_->log(),
                           BlockKey(origin, cursor.end_lsn, cursor.part), &bytes);
  if (status.IsNotFound()) return forked("this log has no block at that position");
  RETURN_IF_ERROR(FromRocksDb(status, "cannot read the change log"));
  ASSIGN_OR_RETURN(const BlockInfo info, ParseBlock(bytes));
  return info.chain == cursor.chain ? absl::OkStatus()
                                    : forked("other checksum at the same position");
}

absl::StatusOr<std::optional<EncodedBlock>> ChangeLog::Next(OriginId origin,
                                                            const Cursor& after) const {
  const OriginLog log = Find(origin);
  if (Before(after, log.trimmed)) {
    return absl::FailedPreconditionError(absl::StrCat("the log of ", Describe(origin, after),
                                                      " was trimmed up to ",
                                                      ToString(log.trimmed.end_lsn)));
  }
  // Only what was published: own blocks are in RocksDB a moment before they are synced.
  if (!Before(after, log.end)) return std::optional<EncodedBlock>();
  const std::unique_ptr<rocksdb::Iterator> it(
      database_->db()->NewIterator(rocksdb::ReadOptions(), database_->log()));
  const std::string prefix = EncodeOrigin(origin);
  it->Seek(BlockKey(origin, after.end_lsn, after.part));
  if (it->Valid() && it->key() == rocksdb::Slice(BlockKey(origin, after.end_lsn, after.part))) {
    it->Next();
  }
  if (!it->Valid() || !it->key().starts_with(prefix)) {
    RETURN_IF_ERROR(FromRocksDb(it->status(), "cannot read the change log"));
    return absl::DataLossError(
        absl::StrCat("the log of ", Describe(origin, after), " should go on and does not"));
  }
  EncodedBlock block;
  block.bytes = it->value().ToString();
  ASSIGN_OR_RETURN(block.info, ParseBlock(block.bytes));
  return std::optional<EncodedBlock>(std::move(block));
}

absl::StatusOr<std::optional<EncodedBlock>> ChangeLog::FirstBeyond(OriginId origin, Lsn lsn) const {
  // Part numbers are far below the largest: after it comes the first block that ends later.
  return Next(origin, {.end_lsn = lsn, .part = UINT32_MAX});
}

bool ChangeLog::WaitBeyond(OriginId origin, const Cursor& after, absl::Duration timeout) const {
  const absl::Time deadline = SteadyNow() + timeout;
  MutexLock lock(&mu_);
  const uint64_t wakeups = wakeups_;
  while (true) {
    const auto found = logs_.find(origin);
    if (found != logs_.end() && Before(after, found->second.end)) return true;
    const absl::Duration left = deadline - SteadyNow();
    if (left <= absl::ZeroDuration() || wakeups != wakeups_) return false;
    grown_.WaitFor(&mu_, left);
  }
}

void ChangeLog::WakeAll() {
  MutexLock lock(&mu_);
  ++wakeups_;
  grown_.NotifyAll();
}

uint64_t ChangeLog::AddListener(std::function<void(OriginId)> listener) {
  MutexLock lock(&listeners_mu_);
  const uint64_t handle = next_handle_++;
  listeners_[handle] = std::move(listener);
  return handle;
}

void ChangeLog::RemoveListener(uint64_t handle) {
  MutexLock lock(&listeners_mu_);
  listeners_.erase(handle);
}

absl::Status ChangeLog::Trim(OriginId origin, Lsn stable) {
  {
    MutexLock append(&append_mu_);
    RETURN_IF_ERROR(TrimLocked(origin, stable));
    if (trims_ < kMostTrimsInMemory) return absl::OkStatus();
    trims_ = 0;
  }
  // Its reads fragment what the memory table has of deleted ranges anew after each trim.
  rocksdb::FlushOptions options;
  options.wait = false;
  return FromRocksDb(database_->db()->Flush(options, database_->log()),
                     "cannot write out the change log");
}

absl::Status ChangeLog::TrimLocked(OriginId origin, Lsn stable) {
  const OriginLog log = Find(origin);
  // Most calls find nothing new.
  const Lsn through = std::min(stable, log.complete);
  if (through <= log.trim_seen) return absl::OkStatus();
  // The last block that ends at or before `stable`, all its parts included.
  const std::unique_ptr<rocksdb::Iterator> it(
      database_->db()->NewIterator(rocksdb::ReadOptions(), database_->log()));
  it->SeekForPrev(BlockKey(origin, through, UINT32_MAX));
  const auto seen = [&] {
    MutexLock lock(&mu_);
    logs_[origin].trim_seen = through;
    return absl::OkStatus();
  };
  if (!it->Valid() || !it->key().starts_with(EncodeOrigin(origin))) {
    RETURN_IF_ERROR(FromRocksDb(it->status(), "cannot read the change log"));
    return seen();
  }
  ASSIGN_OR_RETURN(const BlockInfo info, ParseBlock({it->value().data(), it->value().size()}));
  const Cursor cursor = info.cursor();
  if (info.more_parts || !Before(log.trimmed, cursor)) return seen();

  rocksdb::WriteBatch batch;
  State(database_).Put(&batch, StateName(kStateTrimmed, origin), EncodeCursor(cursor));
  // From where the last one ended: RocksDB breaks ranges that lie in each other into as many pieces
  // for every read.
  const auto behind = [origin](const Cursor& place) {
    return BlockKey(origin, place.end_lsn, place.part) + std::string(1, '\0');
  };
  (void)batch.DeleteRange(database_->log(), behind(log.trimmed), behind(cursor));
  RETURN_IF_ERROR(database_->WriteFromReserve(&batch, /*sync=*/false));
  MutexLock lock(&mu_);
  logs_[origin].trimmed = cursor;
  logs_[origin].trim_seen = through;
  ++trims_;
  ++all_trims_;
  return absl::OkStatus();
}

}  // namespace bdr::agent
