// A file system for RocksDB whose table files leave a part of the disk free.
//
// RocksDB may end the process once an append to its write-ahead log has found the disk full. The
// log's own appends can be checked before they are made (database.h), but flushes and compactions
// write by themselves and meanwhile: they must not take the room that was checked. A flush that
// finds none is an error that RocksDB recovers from by itself once there is room.
#pragma once

#include <rocksdb/file_system.h>

#include <cstdint>
#include <filesystem>
#include <memory>

namespace bdr::agent {

// The room that is left free on the disk of `space` for what makes room; below it nothing else is
// written.
uint64_t DiskReserve(const std::filesystem::space_info& space);

// Table files (*.sst) are written only while `reserve_bytes` of the disk stay available, as the
// user of the process sees it; else with IOStatus::NoSpace(). The reserve counts as used in
// GetFreeSpace(), by which RocksDB tells when to try again. Other files are not looked at.
// Thread-safe.
std::shared_ptr<rocksdb::FileSystem> NewReservingFileSystem(
    std::shared_ptr<rocksdb::FileSystem> target, uint64_t reserve_bytes);

}  // namespace bdr::agent
