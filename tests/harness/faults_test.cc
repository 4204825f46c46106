// The tools that break things must break exactly what they say, or the tests that use them prove
// nothing.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/testing.h"
#include "tests/harness/cluster.h"
#include "tests/harness/http.h"
#include "tests/harness/machine_crash.h"
#include "tests/harness/ports.h"
#include "tests/harness/process.h"
#include "tests/harness/tcp_proxy.h"
#include "tests/harness/temp_folder.h"

namespace bdr::harness {
namespace {

// Sends back what it receives, one connection after the other.
class EchoServer {
 public:
  explicit EchoServer(int port) {
    listen_fd_ = socket(AF_INET, SOCK_STREAM, 0);
    const int yes = 1;
    setsockopt(listen_fd_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    const sockaddr_in address = Loopback(port);
    if (bind(listen_fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        listen(listen_fd_, 8) != 0) {
      ADD_FAILURE() << "cannot listen";
    }
    thread_ = std::thread([this] {
      for (int fd = 0; (fd = accept(listen_fd_, nullptr, nullptr)) >= 0; close(fd)) {
        char buffer[4096];
        for (ssize_t n = 0; (n = recv(fd, buffer, sizeof buffer, 0)) > 0;) {
          if (send(fd, buffer, static_cast<size_t>(n), MSG_NOSIGNAL) < 0) break;
        }
      }
    });
  }
  ~EchoServer() {
    shutdown(listen_fd_, SHUT_RDWR);
    thread_.join();
    close(listen_fd_);
  }

 private:
  int listen_fd_;
  std::thread thread_;
};

class TcpProxyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(const int server_port, FreePort());
    ASSERT_OK_AND_ASSIGN(port_, FreePort());
    server_ = std::make_unique<EchoServer>(server_port);
    ASSERT_OK_AND_ASSIGN(
        proxy_,
        TcpProxy::Start(
            {.listen_port = port_, .server_port = server_port, .classify = [this](int client_port) {
               return OwnsConnection(getpid(), client_port, port_) ? "me" : "other";
             }}));
    Connect();
  }
  void TearDown() override {
    close(fd_);
    proxy_.reset();
    server_.reset();
  }
  void Connect() {
    if (fd_ >= 0) close(fd_);
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in address = Loopback(port_);
    if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      ADD_FAILURE() << "cannot connect";
    }
  }
  // What came back within the time; "reset" if the connection is gone.
  std::string Echo(const std::string& text, int timeout_ms) {
    if (send(fd_, text.data(), text.size(), MSG_NOSIGNAL) < 0) return "reset";
    const timeval timeout{.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    std::string answer;
    char buffer[4096];
    while (answer.size() < text.size()) {
      const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
      if (n < 0 && errno == EAGAIN) break;
      if (n <= 0) return answer + "reset";
      answer.append(buffer, static_cast<size_t>(n));
    }
    return answer;
  }

  int port_ = 0;
  int fd_ = -1;
  std::unique_ptr<EchoServer> server_;
  std::unique_ptr<TcpProxy> proxy_;
};

TEST_F(TcpProxyTest, ForwardsAndDelays) {
  EXPECT_EQ(Echo("hello", 5000), "hello");
  proxy_->SetFault("me", Direction::kToServer, {.delay = absl::Milliseconds(80)});
  const absl::Time start = absl::Now();
  EXPECT_EQ(Echo("hello", 5000), "hello");
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(80));
  // Counted after it was sent on, so perhaps a moment after we have it.
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  while (proxy_->bytes_forwarded() < 20 && absl::Now() < deadline) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(proxy_->bytes_forwarded(), 20);
}

TEST_F(TcpProxyTest, FaultsOfOneClientLeaveOthersAlone) {
  proxy_->Cut("other");
  EXPECT_EQ(Echo("hello", 5000), "hello");
}

TEST_F(TcpProxyTest, AStallEndsWithoutLoss) {
  proxy_->SetFault("me", Direction::kToClient, {.stall = true});
  EXPECT_EQ(Echo("hello", 50), "");
  proxy_->Heal();
  const std::string answer = Echo("world", 5000);  // five bytes or more of "helloworld"
  EXPECT_EQ(answer, std::string("helloworld").substr(0, answer.size()));
  EXPECT_GE(answer.size(), 5u);
}

TEST_F(TcpProxyTest, LostBytesResetTheConnectionWhenItHeals) {
  proxy_->SetFault("me", Direction::kToServer, {.lose = true});
  EXPECT_EQ(Echo("hello", 50), "");
  ASSERT_OK(WaitFor("the bytes to be lost", absl::Seconds(10),
                    [&]() -> absl::StatusOr<bool> { return proxy_->bytes_lost() == 5; }));
  proxy_->Heal();
  EXPECT_THAT(Echo("x", 5000), ::testing::HasSubstr("reset"));
  Connect();
  EXPECT_EQ(Echo("hello", 5000), "hello");
}

TEST_F(TcpProxyTest, ACutMayComeInsideAMessage) {
  EXPECT_EQ(Echo("hello", 5000), "hello");
  proxy_->SetFault("me", Direction::kToServer, {.cut = true, .cut_after_bytes = 3});
  const std::string answer = Echo("hello", 5000);
  EXPECT_THAT(answer, ::testing::EndsWith("reset"));
  EXPECT_LE(answer.size(), std::string("helreset").size());
}

TEST_F(TcpProxyTest, LimitsBandwidth) {
  proxy_->SetFault("", Direction::kToServer, {.bytes_per_second = 50000});
  const absl::Time start = absl::Now();
  EXPECT_EQ(Echo(std::string(10000, 'x'), 5000).size(), 10000u);
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(150));
}

TEST(MachineCrashTest, TakesWhatWasNotSynced) {
  ASSERT_OK_AND_ASSIGN(const auto work, TempFolder::Create());
  std::filesystem::create_directory(work->path() + "/data");
  MachineCrash crash(work->path() + "/data", work->path() + "/journal");
  ASSERT_OK_AND_ASSIGN(const ProgramResult result,
                       RunProgram({.argv = {BDR_UNSYNCED_WRITER, work->path() + "/data"},
                                   .environment = crash.environment()}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(*crash.LoseUnsynced(), 12);
  EXPECT_EQ(*ReadFile(work->path() + "/data/log"), "synced");
  EXPECT_EQ(*ReadFile(work->path() + "/data/never"), "");
  EXPECT_EQ(*ReadFile(work->path() + "/data/current"), "renamed");
  EXPECT_EQ(*crash.LoseUnsynced(), 0);
}

TEST(MetricsTest, SumsOverLabels) {
  const Metrics metrics = Metrics::Parse(
      "# TYPE applied counter\n"
      "applied{origin=\"n1\",kind=\"a\"} 3\napplied{origin=\"n2\",kind=\"a\"} 4.5\nup 1\n");
  EXPECT_EQ(metrics.Sum("applied"), 7.5);
  EXPECT_EQ(metrics.Sum("applied", {{"origin", "n1"}}), 3);
  EXPECT_EQ(metrics.Sum("up"), 1);
  EXPECT_EQ(metrics.Sum("none"), 0);
}

}  // namespace
}  // namespace bdr::harness
