// Nobody without a certificate of ours may get in, and wrong files must be named at start.
//
// The files are made by openssl(1), the way an administrator makes them.
#include "base/grpc_security.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bdr {
namespace {

using ::testing::HasSubstr;

std::string Path(const std::string& name) { return testing::TempDir() + "/bdr_tls_" + name; }

std::string Read(const std::string& name) {
  std::ifstream file(Path(name));
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void Sh(const std::string& command) {
  ASSERT_EQ(std::system((command + " >/dev/null 2>&1").c_str()), 0) << command;
}

// A CA of this name, and a certificate for localhost that it signed: <name>-ca.crt,
// <name>.crt/.key.
void MakeIdentity(const std::string& name, const std::string& extra = "") {
  const std::string ca = Path(name + "-ca");
  const std::string own = Path(name);
  Sh("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=" +
     name + "-ca -keyout " + ca + ".key -out " + ca + ".crt");
  std::ofstream(own + ".ext") << "subjectAltName=DNS:localhost,IP:127.0.0.1\n" << extra;
  Sh("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=" + name +
     " -keyout " + own + ".key -out " + own + ".csr");
  Sh("openssl x509 -req -in " + own + ".csr -CA " + ca + ".crt -CAkey " + ca +
     ".key -CAcreateserial -days 2 -extfile " + own + ".ext -out " + own + ".crt");
  chmod((own + ".key").c_str(), 0600);
}

SecurityOptions Identity(const std::string& name, const std::string& ca) {
  return {
      .certificate = Path(name + ".crt"), .key = Path(name + ".key"), .ca = Path(ca + "-ca.crt")};
}

class GrpcSecurityTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    MakeIdentity("ours");
    MakeIdentity("theirs");
    MakeIdentity("serveronly", "extendedKeyUsage=serverAuth\n");
  }
};

std::string ErrorOf(const SecurityOptions& security) {
  return std::string(CheckSecurityFiles(security).message());
}

// A server that answers every call with UNIMPLEMENTED: enough to see who gets through.
class Server {
 public:
  explicit Server(const SecurityOptions& security) {
    auto credentials = MakeServerCredentials(security, "127.0.0.1:1");
    EXPECT_TRUE(credentials.ok()) << credentials.status();
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", *credentials, &port_);
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
  }
  ~Server() { server_->Shutdown(); }
  std::string address() const { return absl::StrCat("localhost:", port_); }

 private:
  grpc::CallbackGenericService service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

bool Connects(const std::string& address, std::shared_ptr<grpc::ChannelCredentials> credentials) {
  const auto channel = grpc::CreateChannel(address, credentials);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  grpc::GenericStub stub(channel);
  auto call = stub.PrepareUnaryCall(&context, "/x/Y", grpc::ByteBuffer(), &queue);
  call->StartCall();
  grpc::ByteBuffer reply;
  grpc::Status status;
  call->Finish(&reply, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  return status.error_code() == grpc::StatusCode::UNIMPLEMENTED;
}

TEST_F(GrpcSecurityTest, OnlyThoseWhomTheCaSignedGetThrough) {
  const Server server(Identity("ours", "ours"));
  auto ours = MakeChannelCredentials(Identity("ours", "ours"), server.address());
  ASSERT_TRUE(ours.ok()) << ours.status();
  EXPECT_TRUE(Connects(server.address(), *ours));

  auto theirs = MakeChannelCredentials(Identity("theirs", "theirs"), server.address());
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  EXPECT_FALSE(Connects(server.address(), *theirs));  // neither trusts the other

  grpc::SslCredentialsOptions forged;  // trusts us, but shows what another CA signed
  forged.pem_root_certs = Read("ours-ca.crt");
  forged.pem_cert_chain = Read("theirs.crt");
  forged.pem_private_key = Read("theirs.key");
  EXPECT_FALSE(Connects(server.address(), grpc::SslCredentials(forged)));

  grpc::SslCredentialsOptions anonymous;
  anonymous.pem_root_certs = Read("ours-ca.crt");
  EXPECT_FALSE(Connects(server.address(), grpc::SslCredentials(anonymous)));
  EXPECT_FALSE(Connects(server.address(), grpc::InsecureChannelCredentials()));
}

TEST_F(GrpcSecurityTest, PlaintextWorksOnThisMachineAlone) {
  const SecurityOptions insecure = {.insecure = true};
  const Server server(insecure);
  auto credentials = MakeChannelCredentials(insecure, server.address());
  ASSERT_TRUE(credentials.ok()) << credentials.status();
  EXPECT_TRUE(Connects(server.address(), *credentials));
  for (const char* address : {"0.0.0.0:1", "10.0.0.1:1", "[::]:1", "db.example:1"}) {
    EXPECT_EQ(MakeServerCredentials(insecure, address).status().code(),
              absl::StatusCode::kInvalidArgument)
        << address;
    EXPECT_EQ(MakeChannelCredentials(insecure, address).status().code(),
              absl::StatusCode::kInvalidArgument)
        << address;
  }
}

TEST_F(GrpcSecurityTest, NothingSetIsRefused) {
  EXPECT_EQ(CheckSecurityFiles({}).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(GrpcSecurityTest, InsecureWithFilesIsRefused) {
  SecurityOptions both = Identity("ours", "ours");
  both.insecure = true;
  EXPECT_FALSE(MakeServerCredentials(both, "127.0.0.1:1").ok());
}

TEST_F(GrpcSecurityTest, WrongFilesAreNamed) {
  SecurityOptions security = Identity("ours", "ours");
  security.certificate = Path("missing.crt");
  EXPECT_THAT(ErrorOf(security), HasSubstr("missing.crt\" cannot be read: No such file"));

  security = Identity("ours", "ours");
  security.key = Path("theirs.key");
  EXPECT_THAT(ErrorOf(security), HasSubstr("does not belong to certificate"));

  security = Identity("ours", "ours");
  security.ca = Path("ours.key");
  EXPECT_THAT(ErrorOf(security), HasSubstr("CA \"" + Path("ours.key") + "\" holds no PEM"));

  security = Identity("ours", "ours");
  std::ofstream(Path("garbage.key")) << "not a key";
  chmod(Path("garbage.key").c_str(), 0600);
  security.key = Path("garbage.key");
  EXPECT_THAT(ErrorOf(security), HasSubstr("holds no PEM key"));

  EXPECT_THAT(ErrorOf(Identity("ours", "theirs")), HasSubstr("would be refused by peers"));
  EXPECT_THAT(ErrorOf(Identity("serveronly", "serveronly")), HasSubstr("as that of a client"));
}

TEST_F(GrpcSecurityTest, AnEncryptedKeyIsRefusedWithoutAsking) {
  Sh("openssl ec -in " + Path("ours.key") + " -aes128 -passout pass:x -out " + Path("locked.key"));
  chmod(Path("locked.key").c_str(), 0600);
  SecurityOptions security = Identity("ours", "ours");
  security.key = Path("locked.key");
  EXPECT_THAT(ErrorOf(security), HasSubstr("without a passphrase"));
}

TEST_F(GrpcSecurityTest, AKeyThatOthersCanReadIsRefused) {
  Sh("cp " + Path("ours.key") + " " + Path("open.key"));
  SecurityOptions security = Identity("ours", "ours");
  security.key = Path("open.key");
  for (const int mode : {0640, 0604, 0620}) {
    chmod(Path("open.key").c_str(), static_cast<mode_t>(mode));
    EXPECT_THAT(ErrorOf(security), HasSubstr("chmod 600")) << std::oct << mode;
  }
  chmod(Path("open.key").c_str(), 0400);
  EXPECT_TRUE(CheckSecurityFiles(security).ok());
}

}  // namespace
}  // namespace bdr
