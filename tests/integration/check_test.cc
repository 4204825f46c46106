// bdr-agent --check: every thing that would keep an agent from its work is named with what mends
// it, and looking changes nothing.
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "tests/harness/ports.h"
#include "tests/harness/temp_folder.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kWarnings = 1;
constexpr int kErrors = 2;

class CheckTest : public ClusterTest {
 protected:
  // Nobody writes to n1 but who is started for it: its agent is down.
  void Start(bool tls) {
    harness::ClusterOptions options;
    options.nodes.assign(2, {.settings = {{"autovacuum", "off"}}});
    options.schema_sql = "CREATE TABLE t (id int PRIMARY KEY)";
    options.tls = tls;
    options.agent_config = "log_retention_bytes: 64MiB\n";
    options.fake_clocks = !tls;
    BDR_START_CLUSTER(std::move(options));
    BDR_EXEC("n2", "INSERT INTO t VALUES (1)");
    BDR_CONVERGE();
    ASSERT_OK(cluster_->agent("n1").Terminate());
    ASSERT_OK_AND_ASSIGN(config_, harness::ReadFile(Config()));
  }

  std::string Config() const { return cluster_->folder() + "/n1/agent.yaml"; }
  std::string DataDir() const { return cluster_->agent_folder("n1"); }
  void Rewrite(const std::string& from, const std::string& to) {
    ASSERT_THAT(config_, HasSubstr(from));
    ASSERT_OK(harness::WriteFile(Config(), absl::StrReplaceAll(config_, {{from, to}})));
  }
  void Restore() { ASSERT_OK(harness::WriteFile(Config(), config_)); }

  harness::ProgramResult Check() {
    const auto result = harness::RunProgram(
        {.argv = {harness::ProgramFolder() + "/bdr-agent", "--check", "--config", Config()}});
    EXPECT_OK(result);
    EXPECT_EQ(result->err, "");
    return *result;
  }
  static std::vector<std::string> LinesWith(const std::string& text, const std::string& part) {
    std::vector<std::string> lines;
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      // What the servers that tests run on lack is no matter of the node.
      if (absl::StrContains(line, part) && !absl::StrContains(line, "lacks fixes")) {
        lines.emplace_back(line);
      }
    }
    return lines;
  }
  void ExpectGood() {
    const harness::ProgramResult result = Check();
    EXPECT_LE(result.exit_code, kWarnings) << result.out;
    EXPECT_THAT(LinesWith(result.out, "  error: "), IsEmpty());
    EXPECT_THAT(LinesWith(result.out, "  warning: "), IsEmpty());
    for (const char* part : {"configuration: ", "files: ", "ports: ", "certificate: ",
                             "bdr-server: ", "database: ", "clocks: "}) {
      EXPECT_THAT(result.out, HasSubstr(part));
    }
  }

  // Files of the node and its configuration with size, mode and time; what the server keeps; what
  // bdr-server knows of the node. A transaction that has written anything would have taken an xid.
  std::map<std::string, std::string> Everything() {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(cluster_->folder())) {
      const std::string path = entry.path().string();
      struct stat info = {};
      if (lstat(path.c_str(), &info) != 0) continue;
      // Those that run write.
      if (absl::StrContains(path, "/n2") || absl::StrContains(path, "/server") ||
          absl::StrContains(path, "/n1/postgres")) {
        continue;
      }
      all[path] = absl::StrCat(info.st_size, " ", info.st_mode, " ", info.st_mtim.tv_sec, ".",
                               info.st_mtim.tv_nsec);
    }
    for (const char* sql :
         {"SELECT pg_snapshot_xmax(pg_current_snapshot())",
          "SELECT string_agg(s::text, ' ') FROM pg_replication_slots s",
          "SELECT string_agg(o::text, ' ' ORDER BY roname) FROM pg_replication_origin o",
          "SELECT string_agg(n::text, ' ') FROM bdr.node n"}) {
      all[sql] = Value("n1", sql);
    }
    const auto members = cluster_->Bdrctl({"node", "list", "-o", "json"});
    all["members"] = members.ok() ? members->out : "";
    return all;
  }

  // `broken` is named by a line of this level that holds all of `parts`, and nothing is changed by
  // that.
  void ExpectNamed(const std::string& broken, int exit_code,
                   const std::vector<std::string>& parts) {
    SCOPED_TRACE(broken);
    const auto before = Everything();
    const harness::ProgramResult result = Check();
    EXPECT_EQ(Everything(), before);
    EXPECT_EQ(result.exit_code, exit_code) << result.out;
    for (const std::string& line :
         LinesWith(result.out, exit_code == kErrors ? "  error: " : "  warning: ")) {
      bool all = true;
      for (const std::string& part : parts) all = all && absl::StrContains(line, part);
      if (all) return;
    }
    ADD_FAILURE() << "no line says " << parts.front() << " in\n" << result.out;
  }

  std::string config_;
};

TEST_F(CheckTest, AHealthyNodePasses) {
  ASSERT_NO_FATAL_FAILURE(Start(/*tls=*/true));
  const auto before = Everything();
  ExpectGood();
  EXPECT_EQ(Everything(), before);
  ASSERT_OK(cluster_->StartAgent("n1"));
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  // It serves there itself; all else is as good as before.
  const harness::ProgramResult running = Check();
  EXPECT_EQ(running.exit_code, kErrors);
  const auto errors = LinesWith(running.out, "  error: ");
  ASSERT_EQ(errors.size(), 2u) << running.out;
  EXPECT_THAT(errors[0], HasSubstr(absl::StrCat("127.0.0.1:", cluster_->agent_port("n1"))));
  EXPECT_THAT(errors[0], HasSubstr("may be this node's agent itself"));
  EXPECT_THAT(errors[1], HasSubstr(absl::StrCat("127.0.0.1:", cluster_->metrics_port("n1"))));
  EXPECT_OK(cluster_->WaitUntilHealthy(kDeadline));
}

TEST_F(CheckTest, WhatIsWrongInTheFileOrOnDiskIsNamed) {
  ASSERT_NO_FATAL_FAILURE(Start(/*tls=*/true));
  const std::string data_dir = absl::StrCat("data_dir: ", DataDir(), "\n");
  struct Case {
    std::string what, from, to;
    int exit_code;
    std::vector<std::string> parts;
  };
  for (const Case& each : std::vector<Case>{
           {"unknown key", "listen: ", "lisen: ", kErrors, {"agent.yaml", "did you mean"}},
           {"data_dir is a file",
            data_dir,
            absl::StrCat("data_dir: ", Config(), "\n"),
            kErrors,
            {"data_dir", "is no folder"}},
           {"data_dir cannot be made",
            data_dir,
            "data_dir: /dev/null/bdr\n",
            kErrors,
            {"data_dir \"/dev/null/bdr\" cannot be made"}},
           {"data_dir is empty",
            data_dir,
            absl::StrCat("data_dir: ", DataDir(), "-new\n"),
            kErrors,
            {"data_dir is empty", "bring it back"}},
           {"database of the node, data_dir of none",
            data_dir,
            absl::StrCat("data_dir: ", DataDir(), "-new\n"),
            kErrors,
            {"bdr.progress says", "Bring the data_dir back"}},
           {"no folder for the log",
            data_dir,
            data_dir + "log: {file: /nowhere/agent.log}\n",
            kErrors,
            {"log.file \"/nowhere/agent.log\" cannot be made", "make that folder"}},
           {"cap beyond the disk",
            "log_retention_bytes: 64MiB\n",
            "log_retention_bytes: 1000TiB\n",
            kWarnings,
            {"log_retention_bytes", "make room"}},
       }) {
    ASSERT_NO_FATAL_FAILURE(Rewrite(each.from, each.to));
    ExpectNamed(each.what, each.exit_code, each.parts);
    ASSERT_NO_FATAL_FAILURE(Restore());
  }
  fs::permissions(DataDir(), fs::perms::others_read, fs::perm_options::add);
  ExpectNamed("data_dir is open", kErrors, {"data_dir", "run chmod 0700 " + DataDir()});
  fs::permissions(DataDir(), fs::perms::owner_all);
  ExpectGood();
}

TEST_F(CheckTest, WhatIsWrongInTheDatabaseIsNamed) {
  ASSERT_NO_FATAL_FAILURE(Start(/*tls=*/true));
  struct Case {
    std::string what, breaks, mends;
    std::vector<std::string> parts;
  };
  for (const Case& each : std::vector<Case>{
           {"a right",
            "ALTER ROLE bdr NOREPLICATION",
            "ALTER ROLE bdr REPLICATION",
            {"lacks attribute REPLICATION"}},
           {"a publication",
            "ALTER PUBLICATION bdr_keyed SET (publish = 'insert')",
            "ALTER PUBLICATION bdr_keyed SET (publish = 'insert, update, delete, truncate')",
            {"publication bdr_keyed has other options"}},
           {"no schema of ours",
            "ALTER TABLE bdr.schema_version RENAME TO gone",
            "ALTER TABLE bdr.gone RENAME TO schema_version",
            {"bdrctl node setup-sql"}},
           {"another's database",
            "UPDATE bdr.node SET name = 'n7', node_id = 7",
            "UPDATE bdr.node SET name = 'n1', node_id = 1",
            {"the database belongs to node \"n7\"", "DELETE FROM bdr.node"}},
           {"another cluster's",
            "UPDATE bdr.node SET cluster_id = 'x' || cluster_id",
            "UPDATE bdr.node SET cluster_id = substr(cluster_id, 2)",
            {"of another cluster"}},
       }) {
    BDR_EXEC("n1", each.breaks);
    ExpectNamed(each.what, kErrors, each.parts);
    BDR_EXEC("n1", each.mends);
  }
  ExpectGood();
  const std::string port = absl::StrCat("port=", cluster_->postgres("n1").port(), " ");
  ASSERT_NO_FATAL_FAILURE(Rewrite(port, "port=1 "));
  ExpectNamed("nobody answers", kErrors, {"\"127.0.0.1\"", "port"});
}

TEST_F(CheckTest, WhatIsWrongOnTheNetIsNamed) {
  ASSERT_NO_FATAL_FAILURE(Start(/*tls=*/true));
  const std::string own = absl::StrCat("127.0.0.1:", cluster_->agent_port("n1"));
  for (const auto& [key, port] : {std::pair("listen", cluster_->agent_port("n1")),
                                  std::pair("metrics_listen", cluster_->metrics_port("n1"))}) {
    ASSERT_OK_AND_ASSIGN(const auto other,
                         harness::TcpProxy::Start({.listen_port = port, .server_port = port}));
    ExpectNamed(key, kErrors, {absl::StrCat("127.0.0.1:", port), key, "already in use"});
  }

  const std::string key_file = cluster_->authority()->key_file("n1");
  fs::permissions(key_file, fs::perms::group_read, fs::perm_options::add);
  ExpectNamed("an open key", kErrors, {"private key", "chmod 600 " + key_file});
  fs::permissions(key_file, fs::perms::owner_read | fs::perms::owner_write);
  ASSERT_NO_FATAL_FAILURE(Rewrite("/n1.key", "/n2.key"));
  ExpectNamed("another's key", kErrors, {"does not belong to certificate"});
  ASSERT_OK(harness::WriteFile(
      Config(), absl::StrReplaceAll(config_, {{"/n1.key", "/n2.key"}, {"/n1.crt", "/n2.crt"}})));
  ExpectNamed("another's certificate", kErrors,
              {"is that of node:n2, and this is node:n1", "bdrctl cert issue"});
  ASSERT_NO_FATAL_FAILURE(Rewrite("/ca.crt", "/server.crt"));
  ExpectNamed("another CA", kErrors, {"would be refused by peers"});

  ASSERT_NO_FATAL_FAILURE(Restore());
  const auto move_to = [this](const std::string& address) {
    const auto moved = cluster_->Bdrctl({"node", "set-address", "n1", "--address", address});
    ASSERT_OK(moved);
    ASSERT_EQ(moved->exit_code, 0) << moved->err;
  };
  const std::string elsewhere = absl::StrCat("127.0.0.2:", cluster_->agent_port("n1"));
  ASSERT_NO_FATAL_FAILURE(move_to(elsewhere));
  ExpectNamed("no such host in the certificate", kErrors,
              {"does not name host \"127.0.0.2\"", "--host 127.0.0.2"});
  ASSERT_NO_FATAL_FAILURE(move_to("127.0.0.1:1"));
  ExpectNamed("an address where it does not listen", kWarnings,
              {"at 127.0.0.1:1, and it listens on " + own, "bdrctl node set-address n1"});
  // Another name for the same.
  ASSERT_NO_FATAL_FAILURE(move_to(absl::StrCat("localhost:", cluster_->agent_port("n1"))));
  ExpectGood();

  ASSERT_OK(cluster_->authority()->Issue("n9", "node"));
  ASSERT_OK(
      harness::WriteFile(Config(), absl::StrReplaceAll(config_, {{"/n1.key", "/n9.key"},
                                                                 {"/n1.crt", "/n9.crt"},
                                                                 {"node: n1\n", "node: n9\n"}})));
  const harness::ProgramResult stranger = Check();
  EXPECT_THAT(stranger.out, HasSubstr("warning: node \"n9\" is not a member of cluster \"test\""));
  EXPECT_THAT(stranger.out, HasSubstr("bdrctl node add n9"));
  ASSERT_NO_FATAL_FAILURE(Restore());

  // One of two is enough.
  const std::string server = absl::StrCat("\"127.0.0.1:", cluster_->server_port(), "\"");
  ASSERT_NO_FATAL_FAILURE(Rewrite(server, absl::StrCat("\"127.0.0.1:1\", ", server)));
  ExpectNamed("one bdr-server of two", kWarnings, {"\"127.0.0.1:1\" does not answer"});
  ASSERT_NO_FATAL_FAILURE(Rewrite(server, "\"127.0.0.1:1\""));
  ExpectNamed("the only bdr-server", kErrors, {"\"127.0.0.1:1\" does not answer", "control"});
}

TEST_F(CheckTest, AClockThatIsWrongIsNamed) {
  ASSERT_NO_FATAL_FAILURE(Start(/*tls=*/false));
  ExpectGood();
  cluster_->clock("n1").Set(absl::Seconds(10));
  ExpectNamed("ahead", kWarnings, {"PostgreSQL's clock is", "ahead of bdr-server's", "NTP"});
  cluster_->clock("n1").Set(absl::Seconds(-10));
  ExpectNamed("behind", kWarnings, {"PostgreSQL's clock is", "behind bdr-server's"});
}

}  // namespace
}  // namespace bdr::integration
