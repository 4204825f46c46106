// In-progress transactions too large for the server's decoding memory, kept on disk until they
// commit or abort.
//
// The server streams such a transaction in segments before it knows how it ends. Nobody else sees
// any of it: at commit its changes are read back, less those of aborted subtransactions, and become
// blocks of the log; an abort deletes it. After a restart the server streams it again from its
// beginning, so the spool starts empty.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "node-agent/changelog/database.h"

namespace bdr::agent {

// Not thread-safe: belongs to capture.
class Spool {
 public:
  enum class Kind : char { kRelation = 'R', kType = 'Y', kChange = 'C' };

  explicit Spool(Database* database) : database_(database) {}

  // Forgets everything: the server begins anew.
  absl::Status Clear();

  // Marks a transaction as one of another origin: nothing of it is kept.
  void MarkRemote(uint32_t xid) { transactions_[xid].remote = true; }
  bool IsRemote(uint32_t xid) const;

  // Adds a message (in the form outside of a stream) that subtransaction `subxid` of `xid` sent.
  absl::Status Add(uint32_t xid, uint32_t subxid, Kind kind, absl::string_view message);

  // A subtransaction was rolled back; or the whole transaction, if `subxid` equals `xid`.
  absl::Status Abort(uint32_t xid, uint32_t subxid);

  // Hands out what is left, in order; the views live during the call.
  absl::Status ForEach(uint32_t xid,
                       const std::function<absl::Status(Kind, absl::string_view message)>& visit);
  absl::Status Forget(uint32_t xid);

  size_t open_transactions() const { return transactions_.size(); }

 private:
  struct Transaction {
    bool remote = false;
    uint32_t chunks = 0;  // written to the database
    std::string buffer;   // not yet written
    std::set<uint32_t> aborted;
  };
  absl::Status WriteBuffer(uint32_t xid, Transaction& transaction);

  Database* const database_;
  std::map<uint32_t, Transaction> transactions_;
};

}  // namespace bdr::agent
