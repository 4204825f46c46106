// Who has written a transaction that the server decodes: a user here, an agent on behalf of another
// node, or another tool under a replication origin of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "node-agent/capture/foreign_origins.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Not thread-safe: belongs to a session of capture. Owns a connection, opened when it is needed.
class CommitOrigins {
 public:
  enum class Writer { kUser, kForeign, kRemote };
  struct Options {
    std::string conninfo;
    bool forward_foreign = false;               // what other tools' origins write is sent on
    ForeignOrigins* foreign_origins = nullptr;  // told of what is not; outlives it
    std::function<bool()> stopping;             // asked between attempts
    std::function<void(absl::Duration)> wait;   // between attempts; may return early
  };
  explicit CommitOrigins(Options options) : options_(std::move(options)) {}

  // Applied here on behalf of another node, it is not ours to send on; nor is another tool's,
  // unless it is wished.
  bool StaysHere(absl::string_view origin);

  // Of a streamed transaction that is committed by now, and of which the stream has named no origin
  // that stays here. kUnavailable if the server does not say.
  absl::StatusOr<Writer> WriterOf(uint32_t xid);

 private:
  absl::StatusOr<std::string> OriginOf(uint32_t xid);

  const Options options_;
  std::unique_ptr<postgres::Connection> sql_;
};

}  // namespace bdr::agent
