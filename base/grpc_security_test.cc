// Nobody without a certificate of ours may get in, nobody may do more than his certificate says,
// and wrong files must be named at start.
//
// The files are made by openssl(1), the way an administrator makes them.
#include "base/grpc_security.h"

#include <google/protobuf/descriptor.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/access.h"
#include "base/audit.h"
#include "base/certificate_hosts.h"
#include "base/logging.h"
#include "bdr/v1/admin.pb.h"
#include "bdr/v1/control.grpc.pb.h"
#include "bdr/v1/control.pb.h"
#include "bdr/v1/locks.pb.h"
#include "bdr/v1/rows.pb.h"
#include "bdr/v1/servers.pb.h"
#include "bdr/v1/stream.pb.h"
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

// A CA: <name>-ca.crt/.key.
void MakeCa(const std::string& name) {
  const std::string ca = Path(name + "-ca");
  Sh("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=" +
     name + "-ca -keyout " + ca + ".key -out " + ca + ".crt");
}

// A certificate for localhost that a CA signed: <name>.crt/.key.
void Issue(const std::string& name, const std::string& ca_name, const std::string& subject,
           const std::string& extra = "") {
  const std::string ca = Path(ca_name + "-ca");
  const std::string own = Path(name);
  std::ofstream(own + ".ext") << "subjectAltName=DNS:localhost,IP:127.0.0.1\n" << extra;
  Sh("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj " + subject +
     " -keyout " + own + ".key -out " + own + ".csr");
  Sh("openssl x509 -req -in " + own + ".csr -CA " + ca + ".crt -CAkey " + ca +
     ".key -CAcreateserial -days 2 -extfile " + own + ".ext -out " + own + ".crt");
  chmod((own + ".key").c_str(), 0600);
}

// Both, of one name.
void MakeIdentity(const std::string& name, const std::string& extra = "") {
  MakeCa(name);
  Issue(name, name, "/OU=admin/CN=" + name, extra);
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
    for (const Role role : kRoles) {
      const std::string name(ToString(role));
      Issue(name, "ours", absl::StrCat("/OU=", name, "/CN=a-", name));
    }
    Issue("nobody", "ours", "/CN=eu1");
    Issue("stranger", "ours", "/OU=accounting/CN=eu1");
    Issue("both", "ours", "/OU=node/OU=admin/CN=eu1");
    Issue("two-names", "ours", "/OU=node/CN=eu1/CN=eu2");
    Issue("of-a-department", "ours", "/O=Shop/OU=Databases/OU=node/CN=eu1");
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

// UNIMPLEMENTED from the server above: the call got through.
grpc::Status Call(const std::string& address, std::shared_ptr<grpc::ChannelCredentials> credentials,
                  const std::string& method) {
  const auto channel = grpc::CreateChannel(address, credentials);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  grpc::GenericStub stub(channel);
  auto call = stub.PrepareUnaryCall(&context, method, grpc::ByteBuffer(), &queue);
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
  return status;
}

constexpr char kForAdmins[] = "/bdr.v1.ControlPlane/AddNode";

bool Connects(const std::string& address, std::shared_ptr<grpc::ChannelCredentials> credentials) {
  return Call(address, credentials, kForAdmins).error_code() == grpc::StatusCode::UNIMPLEMENTED;
}

grpc::Status CallAs(const std::string& name, const Server& server, const std::string& method) {
  auto credentials = MakeChannelCredentials(Identity(name, "ours"), server.address());
  EXPECT_TRUE(credentials.ok()) << credentials.status();
  return Call(server.address(), *credentials, method);
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

TEST_F(GrpcSecurityTest, EachFileSaysWhenItExpires) {
  const auto read = CertificateExpiries(Identity("ours", "ours"));
  ASSERT_TRUE(read.ok()) << read.status();
  const auto& expiries = *read;
  ASSERT_EQ(expiries.size(), 2u);
  for (const auto& [file, expires] : expiries) {
    EXPECT_GT(expires, absl::Now() + absl::Hours(47)) << file;
    EXPECT_LT(expires, absl::Now() + absl::Hours(49)) << file;
  }
  SecurityOptions insecure;
  insecure.insecure = true;
  const auto none = CertificateExpiries(insecure);
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_TRUE(none->empty());
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

TEST_F(GrpcSecurityTest, ACertificateSaysForWhichHostsAndUntilWhen) {
  const std::string path = Path("ours.crt");
  EXPECT_TRUE(CheckCertificateHost(path, "localhost").ok());
  EXPECT_TRUE(CheckCertificateHost(path, "127.0.0.1").ok());
  for (const char* other : {"eu1.example.org", "10.0.0.5", "fd00::5", "ours"}) {
    const absl::Status status = CheckCertificateHost(path, other);
    EXPECT_THAT(status.message(), HasSubstr(absl::StrCat("does not name host \"", other, "\"")));
    EXPECT_THAT(status.message(), HasSubstr("(subjectAltName: localhost, 127.0.0.1)"));
    EXPECT_THAT(status.message(), HasSubstr(absl::StrCat("--host ", other)));
  }
  const absl::StatusOr<absl::Time> ends = CertificateEnds(path);
  ASSERT_TRUE(ends.ok()) << ends.status();
  EXPECT_GT(*ends, absl::Now() + absl::Hours(47));
  EXPECT_LT(*ends, absl::Now() + absl::Hours(49));
  EXPECT_THAT(CheckCertificateHost(Path("none.crt"), "x").message(), HasSubstr("cannot be read"));
  EXPECT_THAT(CertificateEnds(Path("ours.key")).status().message(), HasSubstr("no PEM"));
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

// By the table of docs/security.md: "ControlPlane/AddNode" to the roles that may call it.
std::map<std::string, std::set<std::string>> DocumentedAccess() {
  std::stringstream text;
  text << std::ifstream(BDR_SOURCE_DIR "/docs/security.md").rdbuf();
  std::map<std::string, std::set<std::string>> access;
  std::vector<std::string> header;
  bool inside = false;
  for (absl::string_view line : absl::StrSplit(text.str(), '\n')) {
    if (absl::StartsWith(line, "<!-- begin: access")) inside = true;
    if (absl::StartsWith(line, "<!-- end: access")) break;
    if (!inside || !absl::StartsWith(line, "| ")) continue;
    std::vector<std::string> cells;
    for (absl::string_view cell : absl::StrSplit(line, '|')) {
      cells.emplace_back(absl::StripAsciiWhitespace(cell));
    }
    if (header.empty()) {
      header = cells;
      continue;
    }
    std::set<std::string>& roles =
        access[std::string(absl::StripPrefix(absl::StripSuffix(cells[1], "`"), "`"))];
    for (size_t i = 2; i < cells.size(); ++i) {
      if (cells[i] == "yes" && header[i] != "audited") roles.insert(header[i]);
    }
  }
  return access;
}

std::vector<std::string> AllCalls() {
  std::vector<std::string> calls;
  for (const google::protobuf::FileDescriptor* file :
       {v1::NodeStatus::descriptor()->file(), v1::HashTableRequest::descriptor()->file(),
        v1::FetchRowsRequest::descriptor()->file(), v1::Subscription::descriptor()->file(),
        v1::LockTicket::descriptor()->file(), v1::ServerInfo::descriptor()->file()}) {
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j) {
        calls.push_back(
            absl::StrCat(file->service(i)->name(), "/", file->service(i)->method(j)->name()));
      }
    }
  }
  return calls;
}

TEST_F(GrpcSecurityTest, EachRoleMayCallWhatTheManualSaysAndNothingElse) {
  const Server server(Identity("ours", "ours"));
  auto documented = DocumentedAccess();
  int allowed = 0;
  for (const std::string& call : AllCalls()) {
    ASSERT_TRUE(documented.contains(call)) << "docs/security.md does not name " << call;
    for (const Role role : kRoles) {
      const std::string name(ToString(role));
      const bool may = documented[call].contains(name);
      const grpc::Status status = CallAs(name, server, "/bdr.v1." + call);
      EXPECT_EQ(status.error_code(),
                may ? grpc::StatusCode::UNIMPLEMENTED : grpc::StatusCode::PERMISSION_DENIED)
          << name << " calls " << call << ": " << status.error_message();
      allowed += may ? 1 : 0;
    }
    documented.erase(call);
  }
  EXPECT_GT(allowed, 30);
  for (const auto& [call, roles] : documented) ADD_FAILURE() << "there is no call " << call;
}

TEST_F(GrpcSecurityTest, ARefusalSaysWhoAndWhatItTakes) {
  const Server server(Identity("ours", "ours"));
  EXPECT_THAT(CallAs("viewer", server, kForAdmins).error_message(),
              HasSubstr("certificate viewer:a-viewer may not call ControlPlane/AddNode: that takes "
                        "the role admin"));
  EXPECT_EQ(CallAs("admin", server, "/bdr.v1.ControlPlane/NotThereYet").error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(GrpcSecurityTest, ACertificateThatNamesNoRoleMayCallNothing) {
  const Server server(Identity("ours", "ours"));
  const std::map<std::string, std::string> wrong = {
      {"nobody", "lacks a role (it has no OU)"},
      {"stranger", "lacks a role (its OU is \"accounting\")"},
      {"both", "has several roles"},
      {"two-names", "has 2 common names"}};
  for (const auto& [name, problem] : wrong) {
    for (const std::string& call : AllCalls()) {
      const grpc::Status status = CallAs(name, server, "/bdr.v1." + call);
      EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << name << " " << call;
      EXPECT_THAT(status.error_message(), HasSubstr(problem));
      EXPECT_THAT(status.error_message(), HasSubstr("bdrctl cert issue"));
    }
  }
  EXPECT_EQ(CallAs("of-a-department", server, "/bdr.v1.ControlPlane/Report").error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(GrpcSecurityTest, WithoutTlsAllMayDoAll) {
  const SecurityOptions insecure = {.insecure = true};
  const Server server(insecure);
  for (const std::string& call : AllCalls()) {
    EXPECT_EQ(
        Call(server.address(), grpc::InsecureChannelCredentials(), "/bdr.v1." + call).error_code(),
        grpc::StatusCode::UNIMPLEMENTED)
        << call;
  }
}

TEST_F(GrpcSecurityTest, AProgramWantsItsOwnCertificateToSayWhatItIs) {
  EXPECT_TRUE(CheckOwnIdentity(Identity("node", "ours"), Role::kNode, "a-node").ok());
  EXPECT_TRUE(CheckOwnIdentity(Identity("server", "ours"), Role::kServer, "").ok());
  EXPECT_TRUE(CheckOwnIdentity({.insecure = true}, Role::kServer, "").ok());
  EXPECT_THAT(CheckOwnIdentity(Identity("node", "ours"), Role::kNode, "eu1").message(),
              HasSubstr("is that of node:a-node, and this is node:eu1"));
  EXPECT_FALSE(CheckOwnIdentity(Identity("admin", "ours"), Role::kServer, "").ok());
  EXPECT_THAT(CheckOwnIdentity(Identity("nobody", "ours"), Role::kNode, "eu1").message(),
              HasSubstr("lacks a role"));
}

TEST(PeerIdentityTest, OnlyANodesOwnCertificateSpeaksForIt) {
  EXPECT_TRUE(CheckSpeaksFor({.role = Role::kNode, .name = "eu1"}, "eu1").ok());
  EXPECT_TRUE(CheckSpeaksFor({.role = Role::kAdmin, .insecure = true}, "eu1").ok());
  EXPECT_FALSE(CheckSpeaksFor({.role = Role::kNode, .name = "eu2"}, "eu1").ok());
  EXPECT_FALSE(CheckSpeaksFor({.role = Role::kNode, .name = "eu1"}, "").ok());
  for (const Role role : {Role::kServer, Role::kAdmin, Role::kViewer}) {
    EXPECT_FALSE(CheckSpeaksFor({.role = role, .name = "eu1"}, "eu1").ok()) << ToString(role);
  }
}

// Answers two calls: enough to see what is written of them.
class AuditedService final : public v1::ControlPlane::CallbackService {
 public:
  grpc::ServerUnaryReactor* AddNode(grpc::CallbackServerContext* context,
                                    const v1::AddNodeRequest* request,
                                    v1::AddNodeResponse*) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(request->no_copy() ? grpc::Status::OK
                                       : grpc::Status(grpc::StatusCode::NOT_FOUND, "a secret"));
    return reactor;
  }
  grpc::ServerUnaryReactor* ClusterStatus(grpc::CallbackServerContext* context,
                                          const v1::ClusterStatusRequest*,
                                          v1::ClusterStatusResponse*) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

// The lines of the log with "audit" while `stub` is used against a server of that security.
std::vector<std::string> AuditOf(const SecurityOptions& server_security,
                                 const SecurityOptions& client_security) {
  AuditedService service;
  grpc::ServerBuilder builder;
  int port = 0;
  auto server_credentials = MakeServerCredentials(server_security, "127.0.0.1:1");
  EXPECT_TRUE(server_credentials.ok()) << server_credentials.status();
  builder.AddListeningPort("127.0.0.1:0", *server_credentials, &port);
  builder.RegisterService(&service);
  AddAudit(&builder);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  const std::string log = Path("audit.log");
  std::remove(log.c_str());
  EXPECT_TRUE(SetLogFile(log).ok());
  SetLogLevel(LogLevel::kError);  // the audit trail goes on all the same
  const std::string address = absl::StrCat("localhost:", port);
  auto credentials = MakeChannelCredentials(client_security, address);
  EXPECT_TRUE(credentials.ok()) << credentials.status();
  const auto stub = v1::ControlPlane::NewStub(grpc::CreateChannel(address, *credentials));
  for (const bool good : {true, false}) {
    grpc::ClientContext context;
    v1::AddNodeRequest request;
    v1::AddNodeResponse response;
    request.set_name("eu2");
    request.set_agent_address("10.0.0.6:7401");
    request.set_no_copy(good);
    EXPECT_EQ(stub->AddNode(&context, request, &response).ok(), good);
  }
  grpc::ClientContext context;
  v1::ClusterStatusResponse response;
  EXPECT_TRUE(stub->ClusterStatus(&context, {}, &response).ok());
  server->Shutdown();
  EXPECT_TRUE(SetLogFile("").ok());
  SetLogLevel(LogLevel::kInfo);
  std::vector<std::string> lines;
  std::ifstream file(log);
  for (std::string line; std::getline(file, line);) {
    if (absl::StrContains(line, " audit ")) lines.push_back(line);
  }
  return lines;
}

TEST_F(GrpcSecurityTest, EachChangeIsWrittenDownWithWhoAndWhat) {
  const std::vector<std::string> lines =
      AuditOf(Identity("ours", "ours"), Identity("admin", "ours"));
  ASSERT_EQ(lines.size(), 2u);  // none for what only looks
  EXPECT_THAT(lines[0], HasSubstr("who=admin:a-admin peer=ipv"));
  EXPECT_THAT(lines[0], HasSubstr("rpc=AddNode object=\"node eu2 at 10.0.0.6:7401\" result=OK"));
  EXPECT_THAT(lines[1], HasSubstr("result=NOT_FOUND"));
  EXPECT_THAT(lines[1], ::testing::Not(HasSubstr("secret")));
}

TEST_F(GrpcSecurityTest, ChangesWithoutTlsAreWrittenDownToo) {
  const std::vector<std::string> lines = AuditOf({.insecure = true}, {.insecure = true});
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_THAT(lines[0], HasSubstr("who=insecure peer=ipv"));
}

TEST(AuditTest, EveryAuditedCallSaysWhatItChanges) {
  int audited = 0;
  for (const AccessRule& rule : AccessRules()) {
    if (!rule.audited) continue;
    ++audited;
    const std::vector<std::string> parts = absl::StrSplit(rule.method, '/');
    const auto* pool = google::protobuf::DescriptorPool::generated_pool();
    const auto* service = pool->FindServiceByName(parts[1]);
    ASSERT_NE(service, nullptr) << rule.method;
    const auto* method = service->FindMethodByName(parts[2]);
    ASSERT_NE(method, nullptr) << rule.method;
    const auto* request =
        google::protobuf::MessageFactory::generated_factory()->GetPrototype(method->input_type());
    EXPECT_NE(AuditedObject(*request), "unknown") << rule.method;
  }
  EXPECT_GT(audited, 5);
  v1::UndoConflictRequest undo;
  undo.set_id(7);
  undo.set_expected_row("{\"card\": \"secret\"}");
  EXPECT_EQ(AuditedObject(undo), "");  // only shows
  undo.set_apply(true);
  EXPECT_EQ(AuditedObject(undo), "conflict 7");
  v1::TablePolicy policy;
  policy.set_policy("delta");
  v1::SetSettingRequest set;
  set.set_key("policy/public.t");
  set.set_value(policy.SerializeAsString());
  EXPECT_EQ(AuditedObject(set), "setting policy/public.t to policy: \"delta\"");
}

}  // namespace
}  // namespace bdr
