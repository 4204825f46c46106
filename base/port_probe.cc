#include "base/port_probe.h"

#include <fcntl.h>
#include <netdb.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/config.h"
#include "base/steady_clock.h"

namespace bdr {
namespace {

// One that does not answer a hello is not waited for until the end: the next may fit.
constexpr absl::Duration kLongestAnswer = absl::Milliseconds(500);
constexpr size_t kFrameHeader = 9;  // of HTTP/2

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

bool WaitUntil(int fd, short events, absl::Time until) {
  pollfd waited = {.fd = fd, .events = events, .revents = 0};
  while (true) {
    const absl::Duration left = until - SteadyNow();
    if (left <= absl::ZeroDuration()) return false;
    const int n = poll(&waited, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
    if (n > 0) return true;
    if (n == 0 || errno != EINTR) return false;
  }
}

bool Connected(int fd, const addrinfo& address, absl::Time until) {
  if (connect(fd, address.ai_addr, address.ai_addrlen) == 0) return true;
  if (errno != EINPROGRESS || !WaitUntil(fd, POLLOUT, until)) return false;
  int error = 0;
  socklen_t size = sizeof(error);
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

// The first bytes of the answer to `hello`; "" if the other side closes without one, or is silent;
// unset if nobody listens.
std::optional<std::string> Answer(const addrinfo& address, absl::string_view hello,
                                  absl::Time until) {
  const Socket socket(
      ::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  if (socket.fd() < 0 || !Connected(socket.fd(), address, until)) return std::nullopt;
  // It fits into the buffer of a new connection.
  if (send(socket.fd(), hello.data(), hello.size(), MSG_NOSIGNAL) < 0) return "";
  std::string answer;
  const absl::Time answer_until = std::min(until, SteadyNow() + kLongestAnswer);
  while (answer.size() < kFrameHeader && WaitUntil(socket.fd(), POLLIN, answer_until)) {
    char bytes[64];
    const ssize_t n = recv(socket.fd(), bytes, sizeof(bytes), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n <= 0) break;
    answer.append(bytes, static_cast<size_t>(n));
    if (answer.size() == 1) break;  // PostgreSQL says one letter and waits
  }
  return answer;
}

// The first message of a TLS client.
std::string TlsHello() {
  const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_client_method()),
                                                             &SSL_CTX_free);
  const std::unique_ptr<SSL, void (*)(SSL*)> ssl(SSL_new(context.get()), &SSL_free);
  BIO* const out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);  // takes both
  SSL_set_connect_state(ssl.get());
  SSL_do_handshake(ssl.get());  // wants the answer, and stops
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(out, &bytes);
  return {bytes, static_cast<size_t>(std::max(size, 0L))};
}

bool IsSettingsFrame(absl::string_view answer) {
  // Length (3), type 4, flags, stream 0 (4).
  return answer.size() >= kFrameHeader && answer[0] == 0 && answer[3] == 4 &&
         answer.substr(5, 4) == absl::string_view("\0\0\0\0", 4);
}

bool IsTlsRecord(absl::string_view answer) {
  // A handshake message or an alert, version 3.x.
  return answer.size() >= 3 && (answer[0] == 0x16 || answer[0] == 0x15) && answer[1] == 3;
}

PortSpeaks Probe(const addrinfo& address, absl::Time until) {
  constexpr absl::string_view kHttp2Hello("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);
  constexpr absl::string_view kHttpHello =
      "GET / HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n";
  constexpr absl::string_view kPostgresHello("\0\0\0\x08\x04\xd2\x16\x2f", 8);  // SSLRequest
  const std::string tls_hello = TlsHello();
  for (const absl::string_view hello :
       {kHttp2Hello, absl::string_view(tls_hello), kHttpHello, kPostgresHello}) {
    const std::optional<std::string> answer = Answer(address, hello, until);
    if (!answer.has_value()) return PortSpeaks::kNothing;
    if (IsSettingsFrame(*answer)) return PortSpeaks::kPlaintextGrpc;
    if (IsTlsRecord(*answer)) return PortSpeaks::kTls;
    if (absl::StartsWith(*answer, "HTTP/")) return PortSpeaks::kHttp;
    if (hello == kPostgresHello && (*answer == "S" || *answer == "N")) return PortSpeaks::kPostgres;
  }
  return PortSpeaks::kNothing;
}

}  // namespace

PortSpeaks ProbePort(const std::string& address, absl::Duration limit) {
  const absl::StatusOr<config::HostPort> parsed = config::ParseHostPort(address);
  if (!parsed.ok()) return PortSpeaks::kNothing;
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(parsed->host.c_str(), absl::StrCat(parsed->port).c_str(), &hints, &found) != 0) {
    return PortSpeaks::kNothing;
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, &freeaddrinfo);
  const absl::Time until = SteadyNow() + limit;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    const PortSpeaks speaks = Probe(*each, until);
    if (speaks != PortSpeaks::kNothing) return speaks;
  }
  return PortSpeaks::kNothing;
}

std::string WhyNoAnswer(PortSpeaks speaks, bool plaintext) {
  switch (speaks) {
    case PortSpeaks::kNothing:
      return "";
    case PortSpeaks::kPlaintextGrpc:
      return plaintext ? "" : "speaks plaintext, and this side TLS";
    case PortSpeaks::kTls:
      return plaintext ? "speaks TLS, and this side plaintext" : "";
    case PortSpeaks::kHttp:
      return "speaks HTTP, as the \"metrics_listen\" of a daemon does: gRPC is at its \"listen\"";
    case PortSpeaks::kPostgres:
      return "is a PostgreSQL server";
  }
  return "";
}

absl::Status ExplainUnavailable(const absl::Status& error, const std::string& address,
                                bool plaintext, absl::Duration limit) {
  if (!absl::IsUnavailable(error)) return error;
  const std::string why = WhyNoAnswer(ProbePort(address, limit), plaintext);
  if (why.empty()) return error;
  return absl::UnavailableError(absl::StrCat("\"", address, "\" ", why));
}

}  // namespace bdr
