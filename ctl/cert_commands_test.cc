// What bdrctl issues is what the programs want: the same names and roles, good for what each role
// does, and no key that others can read.
#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/grpc_security.h"
#include "base/testing.h"
#include "bdr/v1/control.grpc.pb.h"
#include "ctl/command.h"

namespace bdr::ctl {
namespace {

using ::testing::HasSubstr;

class CertTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = absl::StrCat(::testing::TempDir(), "/bdr-cert-XXXXXX");
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // `line` is a command line in which {} is the test's folder. What it prints, or its error.
  absl::StatusOr<std::string> Run(std::string line) {
    for (size_t at = line.find("{}"); at != std::string::npos; at = line.find("{}")) {
      line.replace(at, 2, folder_);
    }
    CLI::App app;
    Invocation invocation;
    std::ostringstream out;
    invocation.out = &out;
    BuildApp(&app, &invocation);
    try {
      app.parse(line);
    } catch (const CLI::ParseError& error) {
      return absl::InvalidArgumentError(error.what());
    }
    invocation.globals.format = *ParseOutputFormat(invocation.globals.format_name);
    const auto code = invocation.run();
    if (!code.ok()) return code.status();
    return out.str();
  }
  absl::StatusOr<std::string> IssueFor(const std::string& name, const std::string& role,
                                       const std::string& more = "") {
    return Run(
        absl::StrCat("cert issue ", name, " --role ", role, " --ca-dir {}/ca --out {}/tls ", more));
  }
  SecurityOptions Security(const std::string& name) const {
    return {.certificate = absl::StrCat(folder_, "/tls/", name, ".crt"),
            .key = absl::StrCat(folder_, "/tls/", name, ".key"),
            .ca = folder_ + "/ca/ca.crt"};
  }
  mode_t ModeOf(const std::string& file) const {
    struct stat info = {};
    EXPECT_EQ(stat((folder_ + "/" + file).c_str(), &info), 0) << file;
    return info.st_mode & 0777;
  }
  std::string Text(const std::string& file) const {
    std::stringstream text;
    text << std::ifstream(folder_ + "/" + file).rdbuf();
    return text.str();
  }

  std::string folder_;
};

TEST_F(CertTest, WhatIsIssuedConnectsEachRole) {
  ASSERT_OK(Run("cert ca --out {}/ca"));
  ASSERT_OK(IssueFor("eu1", "node", "--host localhost --host 127.0.0.1"));
  ASSERT_OK(IssueFor("ctl1", "server", "--host localhost"));
  ASSERT_OK(IssueFor("anna", "admin"));
  ASSERT_OK(IssueFor("bob@example.org", "viewer"));
  EXPECT_OK(CheckOwnIdentity(Security("eu1"), Role::kNode, "eu1"));
  EXPECT_OK(CheckOwnIdentity(Security("ctl1"), Role::kServer, ""));
  // A person's is no server's.
  EXPECT_FALSE(MakeServerCredentials(Security("anna"), "127.0.0.1:1").ok());

  grpc::CallbackGenericService service;  // UNIMPLEMENTED, for whoever gets through
  grpc::ServerBuilder builder;
  int port = 0;
  ASSERT_OK_AND_ASSIGN(const auto credentials,
                       MakeServerCredentials(Security("ctl1"), "127.0.0.1:1"));
  builder.AddListeningPort("127.0.0.1:0", credentials, &port);
  builder.RegisterCallbackGenericService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  const auto add_node_as = [&](const std::string& name, const std::string& host) {
    const std::string address = absl::StrCat(host, ":", port);
    const auto own = MakeChannelCredentials(Security(name), address);
    EXPECT_OK(own);
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
    v1::AddNodeResponse response;
    return v1::ControlPlane::NewStub(grpc::CreateChannel(address, *own))
        ->AddNode(&context, {}, &response)
        .error_code();
  };
  EXPECT_EQ(add_node_as("anna", "localhost"), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(add_node_as("bob@example.org", "localhost"), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(add_node_as("eu1", "localhost"), grpc::StatusCode::PERMISSION_DENIED);
  // Its certificate does not name that host.
  EXPECT_EQ(add_node_as("anna", "127.0.0.1"), grpc::StatusCode::UNAVAILABLE);
  server->Shutdown();
}

TEST_F(CertTest, KeysAreForTheirOwnerAndNothingIsOverwritten) {
  ASSERT_OK(Run("cert ca --out {}/ca"));
  ASSERT_OK(IssueFor("anna", "admin"));
  EXPECT_EQ(ModeOf("ca/ca.key"), 0600u);
  EXPECT_EQ(ModeOf("tls/anna.key"), 0600u);
  const std::string key = Text("tls/anna.key");
  const std::string ca_key = Text("ca/ca.key");
  EXPECT_EQ(IssueFor("anna", "admin").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Run("cert ca --out {}/ca").status().code(), absl::StatusCode::kAlreadyExists);
  // Not even half of a pair.
  std::filesystem::remove(folder_ + "/tls/anna.crt");
  EXPECT_EQ(IssueFor("anna", "admin").status().code(), absl::StatusCode::kAlreadyExists);
  std::ofstream(folder_ + "/tls/bob.crt") << "another's";
  EXPECT_EQ(IssueFor("bob", "viewer").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/tls/bob.key"));
  EXPECT_EQ(Text("tls/anna.key"), key);
  EXPECT_EQ(Text("ca/ca.key"), ca_key);
}

TEST_F(CertTest, ShowSaysWhoseItIs) {
  ASSERT_OK(Run("cert ca --out {}/ca --days 10"));
  ASSERT_OK(IssueFor("eu1", "node", "--host eu1.example.org --host fd00::5 --days 300"));
  ASSERT_OK_AND_ASSIGN(const std::string text, Run("cert show {}/tls/eu1.crt"));
  EXPECT_THAT(text, HasSubstr("of       node \"eu1\"\n"));
  EXPECT_THAT(text, HasSubstr("hosts    eu1.example.org, fd00::5\n"));
  EXPECT_THAT(text, HasSubstr("valid    yes\n"));
  EXPECT_THAT(text, HasSubstr("issuer   CN=bdr-ca\n"));
  ASSERT_OK_AND_ASSIGN(const std::string json, Run("cert show {}/tls/eu1.crt -o json"));
  const Json document = Json::parse(json);
  EXPECT_EQ(document["role"], "node");
  EXPECT_EQ(document["name"], "eu1");
  EXPECT_EQ(document["valid"], true);
  // Nothing outlives its CA.
  ASSERT_OK_AND_ASSIGN(const std::string ca, Run("cert show {}/ca/ca.crt -o json"));
  EXPECT_EQ(Json::parse(ca)["authority"], true);
  EXPECT_EQ(Json::parse(ca)["ends"], document["ends"]);
  EXPECT_FALSE(Run("cert show {}/tls/eu1.key").ok());
  EXPECT_FALSE(Run("cert show {}/nowhere").ok());
}

TEST_F(CertTest, WhatCannotBeIsRefused) {
  EXPECT_EQ(IssueFor("eu1", "node", "--host h").status().code(),
            absl::StatusCode::kFailedPrecondition);  // there is no CA
  ASSERT_OK(Run("cert ca --out {}/ca"));
  for (const char* wrong :
       {"eu1 --role node", "Eu1 --role node --host h", "eu1 --role node --host h:7400",
        "eu1 --role node --host h,IP:10.0.0.1", "../eu1 --role admin", "-- --role admin",
        "anna --role admin --host h", "anna --role king", "anna --role admin --days 0"}) {
    EXPECT_FALSE(Run(absl::StrCat("cert issue ", wrong, " --ca-dir {}/ca --out {}/tls")).ok())
        << wrong;
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/tls"));
  ASSERT_OK(Run("cert ca --out {}/other"));
  std::filesystem::copy_file(folder_ + "/other/ca.key", folder_ + "/ca/ca.key",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(IssueFor("anna", "admin").status().message(), HasSubstr("ca.key is not the key of"));
}

}  // namespace
}  // namespace bdr::ctl
