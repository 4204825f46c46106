// Asking bdr-server for what sequences need: chunks of numbers, and turns.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/security_options.h"

namespace bdr::v1 {
class TurnRequest;
class TurnResponse;
}  // namespace bdr::v1

namespace bdr::agent {

// Grant() and Turn() are for one thread, Cancel() for any.
class ChunkClient {
 public:
  struct Options {
    std::string node;                  // this node's name
    std::vector<std::string> servers;  // host:port, tried in turn
    SecurityOptions security = {};
    absl::Duration call_timeout = absl::Seconds(3);
  };
  // kInvalidArgument for options that cannot work; connects to nobody yet.
  static absl::StatusOr<std::unique_ptr<ChunkClient>> Make(Options options);
  ~ChunkClient();
  ChunkClient(const ChunkClient&) = delete;
  ChunkClient& operator=(const ChunkClient&) = delete;

  // The first of `count` numbers that are this node's alone. An error may mean that they were
  // granted and nobody has them; asking again gets others. kUnavailable if no server answered.
  absl::StatusOr<int64_t> Grant(uint32_t number, uint64_t count);

  // Says and asks what `request` has (proto/bdr/v1/control.proto), in this node's name. After an
  // error it may have been done all the same.
  absl::StatusOr<v1::TurnResponse> Turn(const v1::TurnRequest& request);

  // Ends what is under way, and makes every call fail from now on.
  void Cancel();

 private:
  struct Impl;
  explicit ChunkClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bdr::agent
