#include "node-agent/changelog/reserving_file_system.h"

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"

namespace bdr::agent {

// Of a small disk an eighth.
uint64_t DiskReserve(const std::filesystem::space_info& space) {
  constexpr uint64_t kMost = 64 << 20;
  return std::min<uint64_t>(kMost, space.capacity / 8);
}

namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

// Of one disk. Appends go one at a time, so that two do not both count on the same room.
class Reserve {
 public:
  explicit Reserve(uint64_t bytes) : bytes_(bytes) {}

  uint64_t bytes() const { return bytes_; }
  std::mutex& appending() { return appending_; }
  bool LeavesIt(const std::string& folder, uint64_t more) const {
    std::error_code error;
    const std::filesystem::space_info space = std::filesystem::space(folder, error);
    return error || space.available >= bytes_ + more;  // an append of a broken disk fails anyway
  }

 private:
  const uint64_t bytes_;
  std::mutex appending_;
};

class TableFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  TableFile(std::unique_ptr<rocksdb::FSWritableFile> target, std::string folder, Reserve* reserve)
      : FSWritableFileOwnerWrapper(std::move(target)),
        folder_(std::move(folder)),
        reserve_(reserve) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    const std::lock_guard<std::mutex> lock(reserve_->appending());
    if (!reserve_->LeavesIt(folder_, data.size())) return Full();
    return FSWritableFileOwnerWrapper::Append(data, options, debug);
  }
  IOStatus Append(const Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& info, IODebugContext* debug) override {
    const std::lock_guard<std::mutex> lock(reserve_->appending());
    if (!reserve_->LeavesIt(folder_, data.size())) return Full();
    return FSWritableFileOwnerWrapper::Append(data, options, info, debug);
  }
  // Room that is set aside ahead would be taken as well. It only makes files less scattered.
  void PrepareWrite(size_t, size_t, const IOOptions&, IODebugContext*) override {}

 private:
  IOStatus Full() const {
    return IOStatus::NoSpace("the disk of \"" + folder_ + "\" is full but for a reserve");
  }

  const std::string folder_;
  Reserve* const reserve_;
};

class ReservingFileSystem : public rocksdb::FileSystemWrapper {
 public:
  ReservingFileSystem(std::shared_ptr<rocksdb::FileSystem> target, uint64_t reserve_bytes)
      : FileSystemWrapper(std::move(target)), reserve_(reserve_bytes) {}

  const char* Name() const override { return "ReservingFileSystem"; }

  IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* result,
                           IODebugContext* debug) override {
    const IOStatus status = FileSystemWrapper::NewWritableFile(name, options, result, debug);
    if (status.ok() && absl::EndsWith(name, ".sst")) {
      *result = std::make_unique<TableFile>(
          std::move(*result), std::filesystem::path(name).parent_path().string(), &reserve_);
    }
    return status;
  }

  IOStatus GetFreeSpace(const std::string& path, const IOOptions& options, uint64_t* free_bytes,
                        IODebugContext* debug) override {
    const IOStatus status = FileSystemWrapper::GetFreeSpace(path, options, free_bytes, debug);
    if (status.ok()) *free_bytes -= std::min(*free_bytes, reserve_.bytes());
    return status;
  }

 private:
  Reserve reserve_;
};

}  // namespace

std::shared_ptr<rocksdb::FileSystem> NewReservingFileSystem(
    std::shared_ptr<rocksdb::FileSystem> target, uint64_t reserve_bytes) {
  return std::make_shared<ReservingFileSystem>(std::move(target), reserve_bytes);
}

}  // namespace bdr::agent
