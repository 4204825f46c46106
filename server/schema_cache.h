// The shapes of every node's tables, as the nodes last told them. Kept in the store as well, so
// that what a node that is away told before is known after a restart of this server, and to others
// on the same store.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "server/store/store.h"

namespace bdr::v1 {
class NodeSchema;
}

namespace bdr::server {

// Of the store's keys, each a bdr.v1.NodeSchema.
inline constexpr char kSchemaPrefix[] = "schema/";

// Thread-safe.
class SchemaCache {
 public:
  // `store` outlives it.
  explicit SchemaCache(Store* store);
  ~SchemaCache();

  // What was kept. kDataLoss if it is damaged.
  absl::Status Load();

  // Starts a thread that takes up what other servers write, until this object is gone. Nothing for
  // a store that nobody shares.
  void Follow();

  // Durable once it returns. Telling the same again is harmless. kAborted if somebody else wrote
  // the node's schema at the same time: the node will tell it again.
  absl::Status Set(const v1::NodeSchema& schema, int64_t now_us);
  // Of a node that was removed: one of its name that comes later has told nothing yet. Errors as of
  // Set().
  absl::Status Forget(absl::string_view node);
  // Null if the node has told nothing yet.
  std::shared_ptr<const v1::NodeSchema> Find(absl::string_view node) const;
  std::vector<std::shared_ptr<const v1::NodeSchema>> All() const;

 private:
  struct Kept {
    std::shared_ptr<const v1::NodeSchema> schema;
    uint64_t revision = 0;
  };

  // Until the watch is lost or a while has passed: a watch alone is not trusted for ever.
  absl::Status FollowOnce();
  absl::Status SetOnce(const v1::NodeSchema& schema, int64_t now_us);
  absl::Status Take(const StoreEntry& entry);
  bool Stopped() const;

  Store* const store_;
  mutable Mutex mu_;
  CondVar wake_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::map<std::string, Kept, std::less<>> by_node_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;  // last: uses all of the above
};

}  // namespace bdr::server
