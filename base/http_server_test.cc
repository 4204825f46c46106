// Probes must answer what the process thinks of itself at that moment, with its reasons.
#include "base/http_server.h"

#include <arpa/inet.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bdr {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// The whole answer to one request, read until the server closes.
std::string Request(int port, const std::string& line) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request = line + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
    char buffer[4096];
    for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;) answer.append(buffer, n);
  }
  close(fd);
  return answer;
}

TEST(HttpServerTest, ServesMetricsAndProbes) {
  Metrics metrics({{.name = "bdr_log_bytes", .type = MetricType::kGauge, .help = "size"}});
  metrics.GetGauge("bdr_log_bytes").Set(5);
  std::vector<std::string> reasons;
  auto server = HttpServer::Start({.address = {.host = "localhost", .port = 0},
                                   .metrics = &metrics,
                                   .not_ready = [&reasons] { return reasons; }});
  ASSERT_TRUE(server.ok()) << server.status();
  const int port = (*server)->port();
  EXPECT_THAT(Request(port, "GET /metrics"), HasSubstr("bdr_log_bytes 5"));
  EXPECT_THAT(Request(port, "GET /livez"), EndsWith("\r\n\r\nok\n"));
  EXPECT_THAT(Request(port, "GET /readyz"), StartsWith("HTTP/1.1 200 OK"));
  reasons = {"capture: slot is lost", "apply: us2 is held"};
  const std::string answer = Request(port, "GET /readyz");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(answer, EndsWith("\r\n\r\ncapture: slot is lost\napply: us2 is held\n"));
  EXPECT_THAT(Request(port, "HEAD /readyz"), EndsWith("\r\n\r\n"));
  EXPECT_THAT(Request(port, "GET /metrics/x"), HasSubstr(" 404 "));
  EXPECT_THAT(Request(port, "GET /"), HasSubstr(" 404 "));
}

// Who connects and sends nothing, or a byte now and then, keeps nobody else waiting.
TEST(HttpServerTest, AnswersUnderAThousandSlowConnections) {
  rlimit files = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  const rlim_t before = files.rlim_cur;
  files.rlim_cur = std::min<rlim_t>(files.rlim_max, 4096);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  auto server = HttpServer::Start({.address = {.host = "127.0.0.1", .port = 0}});
  ASSERT_TRUE(server.ok()) << server.status();
  const int port = (*server)->port();
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::vector<int> slow;
  for (int i = 0; i < 1000; ++i) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) break;
    slow.push_back(fd);
    ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    (void)send(fd, "G", 1, MSG_NOSIGNAL);
  }
  EXPECT_EQ(slow.size(), 1000u);
  for (int i = 0; i < 20; ++i) {
    for (const int fd : slow) (void)send(fd, "E", 1, MSG_NOSIGNAL);
    EXPECT_THAT(Request(port, "GET /readyz"), EndsWith("\r\n\r\nok\n"));
  }
  for (const int fd : slow) close(fd);
  files.rlim_cur = before;
  setrlimit(RLIMIT_NOFILE, &files);
}

TEST(HttpServerTest, APortInUseIsNamed) {
  auto first = HttpServer::Start({.address = {.host = "127.0.0.1", .port = 0}});
  ASSERT_TRUE(first.ok()) << first.status();
  const auto port = static_cast<uint16_t>((*first)->port());
  const auto second = HttpServer::Start({.address = {.host = "127.0.0.1", .port = port}});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr("127.0.0.1:" + std::to_string(port)));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("in use"));
}

}  // namespace
}  // namespace bdr
