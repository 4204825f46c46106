// A TCP proxy that misbehaves when told to: a network between two processes of one machine.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace bdr::harness {

// What is wrong with one direction. Faults may be combined.
struct Fault {
  absl::Duration delay = absl::ZeroDuration();
  int64_t bytes_per_second = 0;  // 0: unlimited
  bool stall = false;            // nothing moves, nobody is told; goes on after Heal()
  bool lose = false;             // bytes vanish; connections that lost some are reset by Heal()
  bool cut = false;              // connections are reset, new ones too
  int64_t cut_after_bytes = 0;   // with `cut`: lets so many more through, to end inside a message
};

enum class Direction { kToServer, kToClient };

// Forwards 127.0.0.1:listen_port to 127.0.0.1:server_port. All methods are thread-safe.
class TcpProxy {
 public:
  struct Options {
    int listen_port = 0;
    int server_port = 0;
    // Names the client that connects from this port, so that faults can be set for it alone. Called
    // on the proxy's thread for each new connection. Unset: every client is "".
    std::function<std::string(int client_port)> classify = nullptr;
  };
  static absl::StatusOr<std::unique_ptr<TcpProxy>> Start(Options options);
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  // Holds for present and later connections of the client, until Heal(). Client "" is every client
  // that has no fault of its own. Replaces what was set before.
  void SetFault(const std::string& client, Direction direction, const Fault& fault);
  void Cut(const std::string& client);  // both directions, at once
  void Heal();
  // Bytes delivered so far in both directions.
  int64_t bytes_forwarded() const;
  // Bytes that were lost on purpose.
  int64_t bytes_lost() const;

 private:
  struct Flow {
    int from = -1;
    int to = -1;
    struct Chunk {
      absl::Time ready;
      std::string data;
      size_t sent = 0;
    };
    std::deque<Chunk> chunks;
    size_t queued_bytes = 0;
    absl::Time next_free = absl::InfinitePast();  // when the bandwidth allows the next chunk
    bool read_closed = false;
    bool write_closed = false;
  };
  struct Link {
    std::string client;
    int client_fd = -1;
    int server_fd = -1;
    Flow to_server;
    Flow to_client;
    bool lost_bytes = false;
    bool reset = false;
    int64_t since_cut_bytes = 0;
  };
  struct ClientFaults {
    Fault to_server;
    Fault to_client;
  };

  explicit TcpProxy(Options options) : options_(std::move(options)) {}
  void Loop();
  void Accept();
  ClientFaults FaultsOf(const std::string& client) const;
  void Receive(Link* link, Flow* flow, const Fault& fault);
  void Deliver(Link* link, Flow* flow, const Fault& fault);
  void Wake();

  const Options options_;
  int listen_fd_ = -1;
  int wake_fd_ = -1;
  std::list<Link> links_;  // the loop's own
  std::thread thread_;

  mutable Mutex mu_;
  std::map<std::string, ClientFaults> faults_ ABSL_GUARDED_BY(mu_);
  bool healed_ ABSL_GUARDED_BY(mu_) = false;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  int64_t bytes_forwarded_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t bytes_lost_ ABSL_GUARDED_BY(mu_) = 0;
};

// Whether the TCP connection from 127.0.0.1:client_port to 127.0.0.1:server_port belongs to the
// process (which must be ours, or we root).
bool OwnsConnection(pid_t process, int client_port, int server_port);

}  // namespace bdr::harness
