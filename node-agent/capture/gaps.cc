#include "node-agent/capture/gaps.h"

#include <rocksdb/db.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "node-agent/changelog/state.h"

namespace bdr::agent {
namespace {

std::string Name(Lsn first) { return absl::StrCat(kStateGap, EncodeU64(first.value)); }

// last, transactions, when, and then the cause.
std::string Encode(const CaptureGap& gap) {
  return absl::StrCat(EncodeU64(gap.last.value), EncodeU64(gap.transactions),
                      EncodeU64(static_cast<uint64_t>(gap.skipped_us)), gap.cause);
}

absl::StatusOr<CaptureGap> Decode(absl::string_view name, absl::string_view bytes) {
  constexpr size_t kNumber = 8;
  if (bytes.size() < 3 * kNumber) {
    return absl::DataLossError("a gap of capture in the state is too short");
  }
  CaptureGap gap;
  ASSIGN_OR_RETURN(gap.first.value, DecodeU64(name));
  ASSIGN_OR_RETURN(gap.last.value, DecodeU64(bytes.substr(0, kNumber)));
  ASSIGN_OR_RETURN(gap.transactions, DecodeU64(bytes.substr(kNumber, kNumber)));
  ASSIGN_OR_RETURN(const uint64_t when, DecodeU64(bytes.substr(2 * kNumber, kNumber)));
  gap.skipped_us = static_cast<int64_t>(when);
  gap.cause = std::string(bytes.substr(3 * kNumber));
  return gap;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CaptureGaps>> CaptureGaps::Load(Database* database) {
  std::unique_ptr<CaptureGaps> gaps(new CaptureGaps(database));
  const std::unique_ptr<rocksdb::Iterator> at(
      database->db()->NewIterator(rocksdb::ReadOptions(), database->state()));
  MutexLock lock(&gaps->mu_);
  for (at->Seek(std::string(kStateGap)); at->Valid(); at->Next()) {
    absl::string_view name(at->key().data(), at->key().size());
    if (!absl::ConsumePrefix(&name, kStateGap)) break;
    ASSIGN_OR_RETURN(CaptureGap gap, Decode(name, {at->value().data(), at->value().size()}));
    gaps->gaps_.push_back(std::move(gap));
  }
  RETURN_IF_ERROR(FromRocksDb(at->status(), "cannot read the state"));
  return gaps;
}

absl::Status CaptureGaps::Skip(Lsn commit, const std::string& cause, int64_t now_us, bool extends,
                               rocksdb::WriteBatch* batch) {
  CaptureGap gap{
      .first = commit, .last = commit, .transactions = 1, .skipped_us = now_us, .cause = cause};
  {
    MutexLock lock(&mu_);
    if (extends && !gaps_.empty()) {
      gap = gaps_.back();
      gap.last = commit;
      gap.skipped_us = now_us;
      ++gap.transactions;
    }
  }
  State(database_).Put(batch, Name(gap.first), Encode(gap));
  RETURN_IF_ERROR(database_->Write(batch, /*sync=*/true));
  MutexLock lock(&mu_);
  std::erase_if(gaps_, [&gap](const CaptureGap& known) { return known.first == gap.first; });
  gaps_.push_back(std::move(gap));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<CaptureGap>> CaptureGaps::Close(Lsn first) {
  std::vector<CaptureGap> closed;
  for (const CaptureGap& gap : all()) {
    if (!first.valid() || gap.first == first) closed.push_back(gap);
  }
  if (closed.empty()) {
    return absl::NotFoundError(
        first.valid() ? absl::StrCat("there is no gap that begins at ", ToString(first))
                      : std::string("there is no gap"));
  }
  rocksdb::WriteBatch batch;
  for (const CaptureGap& gap : closed) {
    (void)batch.Delete(database_->state(), Name(gap.first));  // memory: cannot fail
  }
  RETURN_IF_ERROR(database_->Write(&batch, /*sync=*/true));
  MutexLock lock(&mu_);
  std::erase_if(gaps_, [&closed](const CaptureGap& known) {
    return std::any_of(closed.begin(), closed.end(),
                       [&known](const CaptureGap& gap) { return gap.first == known.first; });
  });
  return closed;
}

std::vector<CaptureGap> CaptureGaps::all() const {
  MutexLock lock(&mu_);
  return gaps_;
}

std::string ToString(const CaptureGap& gap) {
  if (gap.transactions == 1) {
    return absl::StrCat("the transaction whose commit record is at ", ToString(gap.first));
  }
  return absl::StrCat(gap.transactions, " transactions whose commit records are at ",
                      ToString(gap.first), " to ", ToString(gap.last));
}

}  // namespace bdr::agent
