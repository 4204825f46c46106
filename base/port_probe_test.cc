// Whoever gives a wrong port or the wrong TLS options is told so, and not that a socket was closed.
#include "base/port_probe.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/http_server.h"
#include "base/steady_clock.h"

namespace bdr {
namespace {

constexpr absl::Duration kLimit = absl::Seconds(20);

std::string Local(int port) { return absl::StrCat("127.0.0.1:", port); }

// A gRPC server that knows no call.
class GrpcServer {
 public:
  explicit GrpcServer(std::shared_ptr<grpc::ServerCredentials> credentials) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", std::move(credentials), &port_);
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
  }
  ~GrpcServer() { server_->Shutdown(); }
  std::string address() const { return Local(port_); }

 private:
  grpc::CallbackGenericService service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// Listens, and does no more than that: the system accepts for it.
class Listener {
 public:
  Listener() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(fd_, 16), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~Listener() { close(fd_); }
  int fd() const { return fd_; }
  std::string address() const { return Local(port_); }

 private:
  const int fd_;
  int port_ = 0;
};

std::string Read(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

TEST(PortProbeTest, KnowsGrpcWithoutTls) {
  const GrpcServer server(grpc::InsecureServerCredentials());
  EXPECT_EQ(ProbePort(server.address(), kLimit), PortSpeaks::kPlaintextGrpc);
}

TEST(PortProbeTest, KnowsTlsAlsoWhereAClientNeedsACertificate) {
  const std::string path = testing::TempDir() + "/bdr_port_probe";
  ASSERT_EQ(std::system(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
                         "-days 2 -subj /CN=localhost -keyout " +
                         path + ".key -out " + path + ".crt >/dev/null 2>&1")
                            .c_str()),
            0);
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = Read(path + ".crt");
  options.pem_key_cert_pairs.push_back({Read(path + ".key"), Read(path + ".crt")});
  const GrpcServer server(grpc::SslServerCredentials(options));
  EXPECT_EQ(ProbePort(server.address(), kLimit), PortSpeaks::kTls);
}

TEST(PortProbeTest, KnowsTheHttpOfADaemon) {
  Metrics metrics({{.name = "bdr_log_bytes", .type = MetricType::kGauge, .help = "size"}});
  auto server =
      HttpServer::Start({.address = {.host = "127.0.0.1", .port = 0}, .metrics = &metrics});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ(ProbePort(Local((*server)->port()), kLimit), PortSpeaks::kHttp);
}

TEST(PortProbeTest, NobodyAndSilenceAreNothingAndEndInTime) {
  const Listener silent;
  const absl::Time begin = SteadyNow();
  EXPECT_EQ(ProbePort(silent.address(), absl::Milliseconds(300)), PortSpeaks::kNothing);
  EXPECT_LT(SteadyNow() - begin, absl::Seconds(10));
  EXPECT_EQ(ProbePort("127.0.0.1:9", kLimit), PortSpeaks::kNothing);
  EXPECT_EQ(ProbePort("no address", kLimit), PortSpeaks::kNothing);
}

TEST(PortProbeTest, AnErrorIsExplainedOnlyByThePort) {
  const GrpcServer server(grpc::InsecureServerCredentials());
  const absl::Status closed = absl::UnavailableError("socket closed");
  EXPECT_EQ(ExplainUnavailable(closed, server.address(), /*plaintext=*/true, kLimit), closed);
  EXPECT_EQ(ExplainUnavailable(closed, server.address(), /*plaintext=*/false, kLimit).message(),
            absl::StrCat("\"", server.address(), "\" speaks plaintext, and this side TLS"));
  const absl::Status refused = absl::PermissionDeniedError("no");
  EXPECT_EQ(ExplainUnavailable(refused, server.address(), /*plaintext=*/false, kLimit), refused);
}

TEST(PortProbeTest, OnlyWhatDoesNotFitIsSaid) {
  EXPECT_EQ(WhyNoAnswer(PortSpeaks::kTls, /*plaintext=*/false), "");
  EXPECT_EQ(WhyNoAnswer(PortSpeaks::kPlaintextGrpc, /*plaintext=*/true), "");
  EXPECT_EQ(WhyNoAnswer(PortSpeaks::kTls, /*plaintext=*/true),
            "speaks TLS, and this side plaintext");
  EXPECT_EQ(WhyNoAnswer(PortSpeaks::kPlaintextGrpc, /*plaintext=*/false),
            "speaks plaintext, and this side TLS");
}

}  // namespace
}  // namespace bdr
