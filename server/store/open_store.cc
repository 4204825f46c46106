#include "server/store/open_store.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/store/rocksdb_store.h"

namespace bdr::server {

bool IsStore(absl::string_view store) { return store == kEmbedded || ParseEtcdUrl(store).ok(); }

absl::StatusOr<std::unique_ptr<Store>> OpenStore(const StoreOptions& options) {
  if (options.store != kEmbedded) {
    ASSIGN_OR_RETURN(EtcdOptions etcd, ParseEtcdUrl(options.store));
    etcd.security = options.etcd;
    return OpenEtcdStore(std::move(etcd));
  }
  std::error_code error;
  std::filesystem::create_directories(options.data_dir, error);
  if (error) {
    return absl::FailedPreconditionError(absl::StrCat("cannot create data_dir \"", options.data_dir,
                                                      "\": ", error.message(),
                                                      "; create it, or name another"));
  }
  return OpenRocksDbStore(options.data_dir + "/store");
}

}  // namespace bdr::server
