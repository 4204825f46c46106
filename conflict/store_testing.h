// What tests of the stores need around RocksDB. Only tests include this.
#pragma once

#include <rocksdb/status.h>

#include <memory>
#include <stdexcept>

#include "tests/harness/temp_folder.h"

namespace bdr::conflict::testing {

// Thrown rather than returned: properties call it deep inside.
inline void Check(const rocksdb::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

inline std::unique_ptr<harness::TempFolder> NewFolder() {
  auto folder = harness::TempFolder::Create();
  if (!folder.ok()) throw std::runtime_error(folder.status().ToString());
  return *std::move(folder);
}

}  // namespace bdr::conflict::testing
