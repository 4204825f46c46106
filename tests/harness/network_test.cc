#include "tests/harness/network.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>

#include "base/testing.h"

namespace bdr::harness {
namespace {

constexpr int kPort = 7000;
constexpr int kNotYetMs = 300;
constexpr int kDeadlineMs = 30000;

// A socket that a thread made there stays there.
int SocketIn(int namespace_fd, const std::function<int()>& make) {
  int fd = -1;
  std::thread([&] {
    if (setns(namespace_fd, CLONE_NEWNET) == 0) fd = make();
  }).join();
  return fd;
}

sockaddr_in AddressOf(const std::string& host) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kPort);
  inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  return address;
}

// A connection from one node of the network to another.
class Pair {
 public:
  Pair(const Network& network, const std::string& from, const std::string& to) {
    const sockaddr_in address = AddressOf(network.address(to));
    const auto* const name = reinterpret_cast<const sockaddr*>(&address);
    const int listening = SocketIn(network.namespace_fd(to), [&] {
      const int fd = socket(AF_INET, SOCK_STREAM, 0);
      return bind(fd, name, sizeof address) == 0 && listen(fd, 1) == 0 ? fd : -1;
    });
    from_ = SocketIn(network.namespace_fd(from), [&] {
      const int fd = socket(AF_INET, SOCK_STREAM, 0);
      return connect(fd, name, sizeof address) == 0 ? fd : -1;
    });
    to_ = accept(listening, nullptr, nullptr);
    close(listening);
  }
  ~Pair() {
    close(from_);
    close(to_);
  }

  bool connected() const { return from_ >= 0 && to_ >= 0; }
  void Send() const { EXPECT_EQ(send(from_, "x", 1, MSG_NOSIGNAL), 1); }
  void SendBack() const { EXPECT_EQ(send(to_, "y", 1, MSG_NOSIGNAL), 1); }
  bool Arrives(int within_ms) const { return Reads(to_, within_ms); }
  bool ComesBack(int within_ms) const { return Reads(from_, within_ms); }

 private:
  static bool Reads(int fd, int within_ms) {
    pollfd readable{.fd = fd, .events = POLLIN, .revents = 0};
    char byte = 0;
    return poll(&readable, 1, within_ms) == 1 && read(fd, &byte, 1) == 1;
  }
  int from_ = -1;
  int to_ = -1;
};

TEST(NetworkNamespacesTest, PacketsVanishUntilItHeals) {
  if (const absl::Status left = LeaveNetwork(); absl::IsPermissionDenied(left)) {
    GTEST_SKIP() << left;
  }
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Network> network, Network::Create({"a", "b"}));
  const Pair pair(*network, "a", "b");
  ASSERT_TRUE(pair.connected());
  pair.Send();
  EXPECT_TRUE(pair.Arrives(kDeadlineMs));

  ASSERT_OK(network->Unplug("b"));
  pair.Send();
  EXPECT_FALSE(pair.Arrives(kNotYetMs));
  ASSERT_OK(network->Heal());
  EXPECT_TRUE(pair.Arrives(kDeadlineMs)) << "the kernel repeats what was lost";

  // In one direction alone.
  ASSERT_OK(network->Drop("b", "a"));
  pair.Send();
  EXPECT_TRUE(pair.Arrives(kDeadlineMs));
  pair.SendBack();
  EXPECT_FALSE(pair.ComesBack(kNotYetMs));
  ASSERT_OK(network->Heal());
  EXPECT_TRUE(pair.ComesBack(kDeadlineMs));
}

}  // namespace
}  // namespace bdr::harness
