// RocksDB's view of bytes and ours.
#pragma once

#include <rocksdb/slice.h>

#include "absl/strings/string_view.h"

namespace bdr::conflict {

inline rocksdb::Slice ToSlice(absl::string_view text) { return {text.data(), text.size()}; }
inline absl::string_view ToView(const rocksdb::Slice& slice) {
  return {slice.data(), slice.size()};
}

}  // namespace bdr::conflict
