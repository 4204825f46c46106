// Where WAL positions lie in its pages, as far as capture has to know: each page begins with a
// header, which belongs to no record.
#pragma once

#include <cstdint>

#include "base/lsn.h"

namespace bdr::agent {

inline constexpr uint64_t kWalPageBytes = 8192;
inline constexpr uint64_t kLongPageHeaderBytes = 40;

// The insert position right behind a page header is where the previous record ended, for readers.
inline Lsn BeforePageHeader(Lsn lsn) {
  const uint64_t offset = lsn.value % kWalPageBytes;
  return offset <= kLongPageHeaderBytes ? Lsn{lsn.value - offset} : lsn;
}

// A position that lies behind the beginning of the commit record that follows `lsn`, where a page
// header may come first, and before the next record.
inline Lsn BehindCommit(Lsn lsn) {
  return Lsn{lsn.value + 1 + (lsn.value % kWalPageBytes == 0 ? kLongPageHeaderBytes : 0)};
}

}  // namespace bdr::agent
