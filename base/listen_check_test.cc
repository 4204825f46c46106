// What a person reads when a port is in use, or an address is not this machine's.
#include "base/listen_check.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bdr {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A listener on 127.0.0.1, on whatever port is free.
class Listening {
 public:
  Listening() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(fd_, 1), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~Listening() { close(fd_); }

  int port() const { return port_; }

 private:
  const int fd_;
  int port_ = 0;
};

TEST(ListenCheckTest, APortInUseIsNamedWithItsKeyUntilItIsFree) {
  std::string address;
  {
    const Listening other;
    address = absl::StrCat("127.0.0.1:", other.port());
    const absl::Status used = CheckCanListen("listen", address);
    EXPECT_TRUE(absl::IsUnavailable(used));
    EXPECT_THAT(used.message(),
                AllOf(HasSubstr(absl::StrCat("\"", address, "\" (listen)")),
                      HasSubstr("already in use"), HasSubstr("set listen to another port")));
    // Of a name every address counts.
    EXPECT_FALSE(CheckCanListen("listen", absl::StrCat("localhost:", other.port())).ok());
  }
  EXPECT_OK(CheckCanListen("listen", address));
}

TEST(ListenCheckTest, AnAddressOfAnotherMachineIsRefused) {
  const absl::Status foreign = CheckCanListen("listen", "192.0.2.1:7401");
  EXPECT_THAT(foreign.message(), AllOf(HasSubstr("\"192.0.2.1:7401\" (listen)"),
                                       HasSubstr("set it to an address of this machine")));
  EXPECT_FALSE(CheckCanListen("listen", "no-such-host.invalid:7401").ok());
}

}  // namespace
}  // namespace bdr
