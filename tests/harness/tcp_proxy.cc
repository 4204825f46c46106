#include "tests/harness/tcp_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "tests/harness/ports.h"
#include "tests/harness/temp_folder.h"

namespace bdr::harness {
namespace {

constexpr size_t kChunkBytes = 16384;
constexpr size_t kQueueBytes = 1 << 20;  // beyond it the sender feels that nobody reads

void NoDelay(int fd) {
  const int yes = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

// close() sends RST instead of FIN: the other end sees "connection reset".
void Reset(int fd) {
  const linger now{.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close(fd);
}

}  // namespace

absl::StatusOr<std::unique_ptr<TcpProxy>> TcpProxy::Start(Options options) {
  std::unique_ptr<TcpProxy> proxy(new TcpProxy(std::move(options)));
  proxy->listen_fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  proxy->wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const int yes = 1;
  setsockopt(proxy->listen_fd_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  const sockaddr_in address = Loopback(proxy->options_.listen_port);
  if (bind(proxy->listen_fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(proxy->listen_fd_, 64) != 0) {
    return absl::ErrnoToStatus(
        errno, absl::StrCat("proxy cannot listen on port ", proxy->options_.listen_port));
  }
  proxy->thread_ = std::thread([p = proxy.get()] { p->Loop(); });
  return proxy;
}

TcpProxy::~TcpProxy() {
  if (thread_.joinable()) {
    {
      MutexLock lock(&mu_);
      stop_ = true;
    }
    Wake();
    thread_.join();
  }
  for (const Link& link : links_) {
    close(link.client_fd);
    close(link.server_fd);
  }
  if (listen_fd_ >= 0) close(listen_fd_);
  if (wake_fd_ >= 0) close(wake_fd_);
}

void TcpProxy::Wake() {
  const uint64_t one = 1;
  if (write(wake_fd_, &one, sizeof one) < 0) {
    // Only if the counter is full, and then the loop is awake anyway.
  }
}

void TcpProxy::SetFault(const std::string& client, Direction direction, const Fault& fault) {
  {
    MutexLock lock(&mu_);
    ClientFaults& faults = faults_[client];
    (direction == Direction::kToServer ? faults.to_server : faults.to_client) = fault;
  }
  Wake();
}

void TcpProxy::Cut(const std::string& client) {
  SetFault(client, Direction::kToServer, {.cut = true});
  SetFault(client, Direction::kToClient, {.cut = true});
}

void TcpProxy::Heal() {
  {
    MutexLock lock(&mu_);
    faults_.clear();
    healed_ = true;
  }
  Wake();
}

int64_t TcpProxy::bytes_forwarded() const {
  MutexLock lock(&mu_);
  return bytes_forwarded_;
}

int64_t TcpProxy::bytes_lost() const {
  MutexLock lock(&mu_);
  return bytes_lost_;
}

TcpProxy::ClientFaults TcpProxy::FaultsOf(const std::string& client) const {
  MutexLock lock(&mu_);
  auto it = faults_.find(client);
  if (it == faults_.end()) it = faults_.find("");
  return it == faults_.end() ? ClientFaults{} : it->second;
}

void TcpProxy::Accept() {
  sockaddr_in peer{};
  socklen_t length = sizeof peer;
  const int client = accept4(listen_fd_, reinterpret_cast<sockaddr*>(&peer), &length,
                             SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (client < 0) return;
  Link link;
  if (options_.classify) link.client = options_.classify(ntohs(peer.sin_port));
  const ClientFaults faults = FaultsOf(link.client);
  if (faults.to_server.cut || faults.to_client.cut) {
    Reset(client);
    return;
  }
  // Blocking: on loopback the kernel answers at once, whatever the server's process does.
  const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = Loopback(options_.server_port);
  if (server < 0 ||
      connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (server >= 0) close(server);
    Reset(client);
    return;
  }
  NoDelay(client);
  NoDelay(server);
  link.client_fd = client;
  link.server_fd = server;
  link.to_server.from = link.to_client.to = client;
  link.to_server.to = link.to_client.from = server;
  links_.push_back(std::move(link));
}

void TcpProxy::Receive(Link* link, Flow* flow, const Fault& fault) {
  std::string data(kChunkBytes, '\0');
  const ssize_t n = recv(flow->from, data.data(), data.size(), MSG_DONTWAIT);
  if (n < 0) {
    if (errno != EAGAIN && errno != EINTR) link->reset = true;
    return;
  }
  if (n == 0) {
    flow->read_closed = true;
    return;
  }
  if (fault.lose) {
    link->lost_bytes = true;
    MutexLock lock(&mu_);
    bytes_lost_ += n;
    return;
  }
  data.resize(static_cast<size_t>(n));
  absl::Time ready = absl::Now() + fault.delay;
  if (fault.bytes_per_second > 0) {
    ready = std::max(ready, flow->next_free);
    flow->next_free = ready + absl::Seconds(1) * (static_cast<double>(n) / fault.bytes_per_second);
    ready = flow->next_free;
  }
  flow->queued_bytes += data.size();
  flow->chunks.push_back({.ready = ready, .data = std::move(data), .sent = 0});
}

void TcpProxy::Deliver(Link* link, Flow* flow, const Fault& fault) {
  if (fault.stall) return;
  const absl::Time now = absl::Now();
  while (!flow->chunks.empty() && flow->chunks.front().ready <= now) {
    Flow::Chunk& chunk = flow->chunks.front();
    size_t wanted = chunk.data.size() - chunk.sent;
    if (fault.cut) {
      const int64_t left = fault.cut_after_bytes - link->since_cut_bytes;
      if (left <= 0) {
        link->reset = true;
        return;
      }
      wanted = std::min(wanted, static_cast<size_t>(left));
    }
    const ssize_t n =
        send(flow->to, chunk.data.data() + chunk.sent, wanted, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) {
      if (errno != EAGAIN && errno != EINTR) link->reset = true;
      return;
    }
    chunk.sent += static_cast<size_t>(n);
    flow->queued_bytes -= static_cast<size_t>(n);
    if (fault.cut) link->since_cut_bytes += n;
    {
      MutexLock lock(&mu_);
      bytes_forwarded_ += n;
    }
    if (chunk.sent == chunk.data.size()) flow->chunks.pop_front();
  }
  if (flow->chunks.empty() && flow->read_closed && !flow->write_closed) {
    flow->write_closed = true;
    shutdown(flow->to, SHUT_WR);
  }
}

void TcpProxy::Loop() {
  for (;;) {
    std::vector<pollfd> fds = {{.fd = wake_fd_, .events = POLLIN, .revents = 0},
                               {.fd = listen_fd_, .events = POLLIN, .revents = 0}};
    absl::Time next = absl::Now() + absl::Seconds(1);
    for (Link& link : links_) {
      const ClientFaults faults = FaultsOf(link.client);
      for (auto [flow, fault] : {std::pair{&link.to_server, &faults.to_server},
                                 std::pair{&link.to_client, &faults.to_client}}) {
        const bool wants = !flow->read_closed && flow->queued_bytes < kQueueBytes;
        fds.push_back({.fd = wants ? flow->from : -1, .events = POLLIN, .revents = 0});
        const bool due = !flow->chunks.empty() && !fault->stall;
        const bool ready = due && flow->chunks.front().ready <= absl::Now();
        fds.push_back({.fd = ready ? flow->to : -1, .events = POLLOUT, .revents = 0});
        if (due && !ready) next = std::min(next, flow->chunks.front().ready);
      }
    }
    const int64_t wait_ms = absl::ToInt64Milliseconds(
        absl::Ceil(std::max(next - absl::Now(), absl::ZeroDuration()), absl::Milliseconds(1)));
    poll(fds.data(), fds.size(), static_cast<int>(wait_ms));

    uint64_t count = 0;
    if (fds[0].revents != 0 && read(wake_fd_, &count, sizeof count) < 0) {
      // Nothing to read after all.
    }
    bool healed = false;
    {
      MutexLock lock(&mu_);
      if (stop_) return;
      std::swap(healed, healed_);
    }
    size_t index = 2;
    for (Link& link : links_) {
      const ClientFaults faults = FaultsOf(link.client);
      for (auto [flow, fault] : {std::pair{&link.to_server, &faults.to_server},
                                 std::pair{&link.to_client, &faults.to_client}}) {
        if (fds[index].revents != 0) Receive(&link, flow, *fault);
        index += 2;
        Deliver(&link, flow, *fault);
        if (fault->cut && fault->cut_after_bytes == 0) link.reset = true;
      }
      // What follows lost bytes would be taken for something else.
      if (healed && link.lost_bytes) link.reset = true;
      if (healed) link.since_cut_bytes = 0;
    }
    for (auto it = links_.begin(); it != links_.end();) {
      if (it->reset) {
        Reset(it->client_fd);
        Reset(it->server_fd);
      } else if (it->to_server.write_closed && it->to_client.write_closed) {
        close(it->client_fd);
        close(it->server_fd);
      } else {
        ++it;
        continue;
      }
      it = links_.erase(it);
    }
    if (fds[1].revents != 0) Accept();
  }
}

bool OwnsConnection(pid_t process, int client_port, int server_port) {
  // gRPC connects to IPv4 addresses through IPv6 sockets: those stand in a table of their own.
  constexpr struct {
    const char* table;
    const char* loopback;
  } kTables[] = {{"tcp", "0100007F"}, {"tcp6", "0000000000000000FFFF00000100007F"}};
  std::string socket_name;
  for (const auto& [table_name, loopback] : kTables) {
    const absl::StatusOr<std::string> table =
        ReadFile(absl::StrCat("/proc/", process, "/net/", table_name));
    if (!table.ok()) continue;
    const std::string local = absl::StrFormat("%s:%04X", loopback, client_port);
    const std::string remote = absl::StrFormat("%s:%04X", loopback, server_port);
    for (absl::string_view line : absl::StrSplit(*table, '\n')) {
      // sl local remote state queues timer retransmits uid timeout inode
      const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
      if (fields.size() > 9 && fields[1] == local && fields[2] == remote) {
        socket_name = absl::StrCat("socket:[", fields[9], "]");
      }
    }
  }
  if (socket_name.empty()) return false;
  std::error_code error;
  for (const auto& fd :
       std::filesystem::directory_iterator(absl::StrCat("/proc/", process, "/fd"), error)) {
    std::error_code gone;
    if (std::filesystem::read_symlink(fd.path(), gone).string() == socket_name) return true;
  }
  return false;
}

}  // namespace bdr::harness
