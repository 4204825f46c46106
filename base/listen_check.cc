#include "base/listen_check.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/config.h"
#include "base/status_macros.h"

namespace bdr {
namespace {

using Addresses = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

// 0, or the errno that stands against it.
int TryToBind(const addrinfo& address) {
  const int fd = socket(address.ai_family, address.ai_socktype | SOCK_CLOEXEC, address.ai_protocol);
  if (fd < 0) return errno;
  // As servers do: connections of an earlier one that linger on are in nobody's way.
  const int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  const int error = bind(fd, address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
  close(fd);
  return error;
}

}  // namespace

absl::Status CheckCanListen(absl::string_view key, const std::string& address) {
  const auto failed = [&](absl::string_view why, absl::string_view remedy) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on \"", address, "\" (", key, "): ", why, "; ", remedy));
  };
  constexpr absl::string_view kChange = "set it to an address of this machine";
  ASSIGN_OR_RETURN(const config::HostPort parsed, config::ParseHostPort(address));
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  if (const int error =
          getaddrinfo(parsed.host.c_str(), absl::StrCat(parsed.port).c_str(), &hints, &list);
      error != 0) {
    return failed(gai_strerror(error), kChange);
  }
  const Addresses addresses(list, &freeaddrinfo);
  int good = 0;
  int last = EADDRNOTAVAIL;
  for (const addrinfo* each = addresses.get(); each != nullptr; each = each->ai_next) {
    const int error = TryToBind(*each);
    // Of a name with several addresses one may not be this machine's ("localhost" where there is no
    // IPv6). But what is sent to one that another program has never arrives.
    if (error == EADDRINUSE) {
      return failed(std::strerror(error),
                    absl::StrCat("stop what serves there, which may be this node's agent itself, "
                                 "or set ",
                                 key, " to another port"));
    }
    if (error == 0) ++good;
    if (error != 0) last = error;
  }
  if (good > 0) return absl::OkStatus();
  return failed(
      std::strerror(last),
      last == EACCES ? "ports below 1024 take a right that this user lacks: set another" : kChange);
}

}  // namespace bdr
