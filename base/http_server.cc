#include "base/http_server.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/mutex.h"

namespace bdr {
namespace {

// Connections that are open at a time. Beyond three quarters the oldest goes for each that comes:
// who asks what he came for is done within milliseconds, whoever else holds connections open.
constexpr rlim_t kMostConnections = 512;
constexpr unsigned int kIdleSeconds = 5;
constexpr unsigned int kThreads = 2;  // a long answer to one leaves the other for probes
constexpr size_t kRequestBytes = 8 << 10;

struct Answer {
  unsigned int code = 200;
  std::string content_type;
  std::string body;
};

Answer Probe(const HttpServer::Reasons& reasons) {
  const std::vector<std::string> lines = reasons ? reasons() : std::vector<std::string>();
  if (lines.empty()) return {200, "text/plain; charset=utf-8", "ok\n"};
  return {503, "text/plain; charset=utf-8", absl::StrCat(absl::StrJoin(lines, "\n"), "\n")};
}

// A quarter of the files that this process may have open at most.
unsigned int MostConnections() {
  rlimit files = {};
  rlim_t most = kMostConnections;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) most = std::min(most, files.rlim_cur / 4);
  return static_cast<unsigned int>(std::max<rlim_t>(most, 8));
}

// Which connections are open, by age.
class Connections {
 public:
  explicit Connections(unsigned int most) : most_(most) {}

  void Opened(const MHD_Connection* connection, int fd) {
    MutexLock lock(&mu_);
    open_.emplace(next_, Open{connection, fd});
    by_connection_.emplace(connection, next_++);
    if (open_.size() <= most_ / 4 * 3) return;
    // It stays in the map until the library says that it is closed: only then its number may be
    // another's.
    for (auto& [number, open] : open_) {
      if (open.fd < 0) continue;
      shutdown(std::exchange(open.fd, -1), SHUT_RDWR);
      return;
    }
  }
  void Closed(const MHD_Connection* connection) {
    MutexLock lock(&mu_);
    const auto found = by_connection_.find(connection);
    if (found == by_connection_.end()) return;
    open_.erase(found->second);
    by_connection_.erase(found);
  }

 private:
  struct Open {
    const MHD_Connection* connection;
    int fd;
  };
  const size_t most_;
  Mutex mu_;
  uint64_t next_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<uint64_t, Open> open_ ABSL_GUARDED_BY(mu_);
  std::map<const MHD_Connection*, uint64_t> by_connection_ ABSL_GUARDED_BY(mu_);
};

// The library tells why it could not start only to its log; keep that for the error.
void KeepError(void* error, const char* format, va_list arguments) {
  auto* text = static_cast<std::string*>(error);
  if (text == nullptr || !text->empty()) return;  // the first is the cause
  char line[256];
  vsnprintf(line, sizeof(line), format, arguments);
  text->assign(line, strcspn(line, "\n"));
}

}  // namespace

struct HttpServer::Impl {
  Impl(const Options& of, unsigned int most) : options(of), connections(most) {}
  ~Impl() {
    if (daemon != nullptr) MHD_stop_daemon(daemon);
  }

  Answer AnswerTo(const std::string& path) const {
    if (path == "/livez") return Probe(options.not_live);
    if (path == "/readyz") return Probe(options.not_ready);
    if (path != "/metrics") return {404, "text/plain; charset=utf-8", "not found\n"};
    return {200, "text/plain; version=0.0.4; charset=utf-8",
            options.metrics == nullptr ? "" : options.metrics->Text()};
  }

  static MHD_Result Handle(void* self, MHD_Connection* connection, const char* path,
                           const char* method, const char*, const char*, size_t* upload,
                           void** begun) {
    // First come the headers, then perhaps a body, which nobody wants.
    static char mark;
    if (std::exchange(*begun, &mark) == nullptr) return MHD_YES;
    if (*upload != 0) {
      *upload = 0;
      return MHD_YES;
    }
    const bool known = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    const Answer answer = known ? static_cast<Impl*>(self)->AnswerTo(path)
                                : Answer{405, "text/plain; charset=utf-8", "GET or HEAD\n"};
    MHD_Response* const response = MHD_create_response_from_buffer(
        answer.body.size(), const_cast<char*>(answer.body.data()), MHD_RESPMEM_MUST_COPY);
    if (response == nullptr) return MHD_NO;
    MHD_add_response_header(response, "Content-Type", answer.content_type.c_str());
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "Connection", "close");
    const MHD_Result queued = MHD_queue_response(connection, answer.code, response);
    MHD_destroy_response(response);
    return queued;
  }

  static void Notify(void* self, MHD_Connection* connection, void**,
                     MHD_ConnectionNotificationCode code) {
    Connections& connections = static_cast<Impl*>(self)->connections;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) return connections.Closed(connection);
    const MHD_ConnectionInfo* info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info != nullptr) connections.Opened(connection, info->connect_fd);
  }

  const Options options;
  Connections connections;
  MHD_Daemon* daemon = nullptr;
  int port = 0;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const Options& options) {
  // A listener by name would only hide which address it is.
  const std::string host = options.address.host == "localhost" ? "127.0.0.1" : options.address.host;
  sockaddr_in v4 = {};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(options.address.port);
  sockaddr_in6 v6 = {};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = v4.sin_port;
  const bool is_v6 = inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1;
  const auto failed = [&](absl::string_view why) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve HTTP on \"", host, ":", options.address.port, "\": ", why,
                     "; free the port or set metrics_listen to another address"));
  };
  if (!is_v6 && inet_pton(AF_INET, host.c_str(), &v4.sin_addr) != 1) {
    return failed("it is no address");
  }
  const sockaddr* const address =
      is_v6 ? reinterpret_cast<sockaddr*>(&v6) : reinterpret_cast<sockaddr*>(&v4);
  const unsigned int most = MostConnections();
  auto impl = std::make_unique<Impl>(options, most);
  std::string error;
  const unsigned int flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG |
                             (is_v6 ? static_cast<unsigned int>(MHD_USE_IPv6) : 0u);
  errno = 0;
  // Its log goes nowhere once it has started: what clients do wrong is no news.
  static thread_local std::string* told = nullptr;
  told = &error;
  const auto keep = [](void*, const char* format, va_list arguments) {
    KeepError(told, format, arguments);
  };
  impl->daemon = MHD_start_daemon(
      flags, options.address.port, nullptr, nullptr, &Impl::Handle, impl.get(),
      MHD_OPTION_EXTERNAL_LOGGER, static_cast<MHD_LogCallback>(keep), nullptr, MHD_OPTION_SOCK_ADDR,
      address, MHD_OPTION_CONNECTION_LIMIT, most, MHD_OPTION_CONNECTION_TIMEOUT, kIdleSeconds,
      MHD_OPTION_CONNECTION_MEMORY_LIMIT, kRequestBytes, MHD_OPTION_THREAD_POOL_SIZE, kThreads,
      MHD_OPTION_NOTIFY_CONNECTION, &Impl::Notify, impl.get(), MHD_OPTION_END);
  const int cause = errno;
  told = nullptr;
  if (impl->daemon == nullptr) {
    return failed(cause == EADDRINUSE || error.empty() ? std::string(strerror(cause)) : error);
  }
  const MHD_DaemonInfo* const info = MHD_get_daemon_info(impl->daemon, MHD_DAEMON_INFO_BIND_PORT);
  impl->port = info == nullptr ? options.address.port : info->port;
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

int HttpServer::port() const { return impl_->port; }

}  // namespace bdr
