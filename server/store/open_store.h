// Which store it is, by the configuration's "store".
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/store/etcd_store.h"
#include "server/store/store.h"

namespace bdr::server {

inline constexpr char kEmbedded[] = "embedded";

struct StoreOptions {
  std::string store = kEmbedded;  // or an URL as of ParseEtcdUrl()
  std::string data_dir = "";      // where the embedded one is
  EtcdSecurity etcd = {};
};

// "embedded", or an URL that can be parsed.
bool IsStore(absl::string_view store);

// kInvalidArgument and kFailedPrecondition for what somebody must change, with what; otherwise as
// OpenRocksDbStore() and OpenEtcdStore().
absl::StatusOr<std::unique_ptr<Store>> OpenStore(const StoreOptions& options);

}  // namespace bdr::server
