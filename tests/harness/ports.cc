#include "tests/harness/ports.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"

namespace bdr::harness {
namespace {

constexpr int kFirstPort = 20000;
constexpr int kPorts = 12000;
constexpr char kLockFolder[] = "/tmp/bdr-test-ports";

// A lock on a file, held until this process ends or the descriptor is closed; -1 if another has it.
int Reserve(int port) {
  const std::string path = absl::StrCat(kLockFolder, "/", port);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return -1;
  fchmod(fd, 0666);  // Against the umask: another user's tests share the folder.
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  close(fd);
  return -1;
}

}  // namespace

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

absl::Status CheckPortFree(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::ErrnoToStatus(errno, "cannot create a socket");
  const int yes = 1;  // As servers do: closed connections that linger on are in nobody's way.
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  const sockaddr_in address = Loopback(port);
  const int result = bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  close(fd);
  if (result == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("port ", port, " of 127.0.0.1 is in use"));
}

absl::StatusOr<int> FreePort() {
  static Mutex mu;
  static int next ABSL_GUARDED_BY(mu) = -1;
  MutexLock lock(&mu);
  mkdir(kLockFolder, 0777);
  chmod(kLockFolder, 01777);
  // Processes start far from each other, so that they seldom meet.
  if (next < 0) next = static_cast<int>((static_cast<int64_t>(getpid()) * 37) % kPorts);
  for (int tries = 0; tries < kPorts; ++tries) {
    const int port = kFirstPort + next;
    next = (next + 1) % kPorts;
    // Reserved before it is tried: trying binds it, and whoever has it already may be about to.
    const int reserved = Reserve(port);
    if (reserved < 0) continue;
    if (CheckPortFree(port).ok()) return port;
    close(reserved);
  }
  return absl::ResourceExhaustedError(absl::StrCat("no free port from ", kFirstPort, " on"));
}

bool CanConnect(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const sockaddr_in address = Loopback(port);
  const bool connected =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return connected;
}

}  // namespace bdr::harness
