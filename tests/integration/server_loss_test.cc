// bdr-server's folder is lost, or comes back from a backup: the cluster goes on as the one that it
// was, with the ids, members and settings that its agents know.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/harness/temp_folder.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

class ServerLossTest : public ClusterTest {
 protected:
  static constexpr char kTable[] =
      "CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY FULL";

  std::string Folder() const { return cluster_->folder() + "/server"; }
  // Exit code and all that it says.
  std::string Bdrctl(std::vector<std::string> arguments, int exit_code) {
    const auto result = cluster_->Bdrctl(std::move(arguments));
    EXPECT_OK(result);
    EXPECT_EQ(result->exit_code, exit_code) << result->out << result->err;
    return result->out + result->err;
  }
  // Ids, names, addresses and so on of all nodes.
  Json Nodes() { return Json::parse(Bdrctl({"node", "list", "-o", "json"}, 0)); }
  // The one that begins with what is in `folder`; "": with nothing.
  void LoseServer(const std::string& folder = "") {
    cluster_->server().Kill9();
    std::filesystem::remove_all(Folder());
    if (folder.empty()) {
      std::filesystem::create_directories(Folder());
    } else {
      std::filesystem::copy(folder, Folder(), std::filesystem::copy_options::recursive);
    }
    std::filesystem::permissions(Folder(), std::filesystem::perms::owner_all);
  }
  harness::ProgramResult Restore(const std::string& file) {
    const auto result =
        harness::RunProgram({.argv = {harness::ProgramFolder() + "/bdr-server", "--config",
                                      cluster_->folder() + "/server.yaml", "restore", file}},
                            kDeadline);
    EXPECT_OK(result);
    return *result;
  }
  void WaitForAnswer(const std::vector<std::string>& arguments, const std::string& text) {
    std::string last;
    ASSERT_OK(harness::WaitFor(absl::StrCat("bdrctl says \"", text, "\""), kDeadline,
                               [&]() -> absl::StatusOr<bool> {
                                 ASSIGN_OR_RETURN(const auto result, cluster_->Bdrctl(arguments));
                                 last = result.out + result.err;
                                 return absl::StrContains(last, text);
                               }))
        << last;
  }
  void WaitForPolicy(const std::string& policy) {
    ASSERT_NO_FATAL_FAILURE(WaitForAnswer({"table", "show-policy", "public.t"}, policy));
  }
  void ExpectHealthyAndWriting() {
    ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
    for (const std::string& node : cluster_->names()) {
      BDR_EXEC(node, absl::StrCat("INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t"));
      BDR_CONVERGE();
    }
  }
};

TEST_F(ServerLossTest, AnEmptyServerBringsBackTheClusterOfItsAgents) {
  BDR_START_CLUSTER(3, kTable);
  Bdrctl({"node", "add", "typo", "--address", "127.0.0.1:1", "--no-copy"}, 0);
  Bdrctl({"node", "remove", "typo"}, 0);
  // In force: all agents know of it, and so of what was before.
  EXPECT_THAT(Bdrctl({"table", "set-policy", "public.t", "first_update_wins"}, 0),
              HasSubstr("in force"));
  ASSERT_OK(cluster_->agent("n3").Terminate());
  const Json before = Nodes();

  LoseServer();
  ASSERT_OK(cluster_->StartServer());
  ASSERT_NO_FATAL_FAILURE(WaitForAnswer({"status"}, "cluster \"test\""));
  ASSERT_NO_FATAL_FAILURE(WaitForAnswer({"status"}, "\"n1\", \"n2\""));
  for (const char* name : {"test", "other"}) {
    const std::string refused = Bdrctl({"cluster", "init", name}, 4);
    EXPECT_THAT(refused, HasSubstr("agents of cluster \"test\""));
    EXPECT_THAT(refused, HasSubstr("\"n1\", \"n2\""));
    EXPECT_THAT(refused, HasSubstr("--from-agents"));
  }
  // Once each of the others has told all that it knows, which comes behind its first word.
  ASSERT_NO_FATAL_FAILURE(
      WaitForAnswer({"cluster", "init", "--from-agents"}, "no agent of \"n3\""));
  EXPECT_THAT(Bdrctl({"cluster", "init", "other", "--from-agents", "--nodes", "n1,n2"}, 4),
              HasSubstr("not to \"other\""));
  EXPECT_THAT(Bdrctl({"cluster", "init", "test", "--from-agents", "--nodes", "n1,n2"}, 0),
              HasSubstr("has 3 nodes"));
  cluster_->server().Kill9();
  ASSERT_OK(cluster_->StartServer());
  const Json after = Nodes();
  EXPECT_EQ(after.at("cluster_id"), before.at("cluster_id"));
  EXPECT_EQ(after.at("nodes"), before.at("nodes"));
  ASSERT_NO_FATAL_FAILURE(WaitForPolicy("first_update_wins"));
  ASSERT_OK(cluster_->StartAgent("n3"));
  ASSERT_NO_FATAL_FAILURE(ExpectHealthyAndWriting());
  Bdrctl({"cluster", "init", "--from-agents"}, 0);
  EXPECT_THAT(Bdrctl({"node", "add", "n5", "--address", "127.0.0.1:1", "--no-copy"}, 0),
              HasSubstr("has id 5"));
  // What is set now comes into force as ever.
  Bdrctl({"node", "remove", "n5"}, 0);
  Bdrctl({"table", "set-policy", "public.t", "last_update_wins"}, 0);
  ASSERT_NO_FATAL_FAILURE(WaitForPolicy("last_update_wins"));
  ASSERT_NO_FATAL_FAILURE(ExpectHealthyAndWriting());
}

TEST_F(ServerLossTest, ABackupComesBackWithoutTakingAgentsBack) {
  BDR_START_CLUSTER(2, kTable);
  const std::string file = cluster_->folder() + "/cluster.bdr";
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  EXPECT_THAT(Bdrctl({"cluster", "backup", file}, 0), HasSubstr(file));
  EXPECT_THAT(Restore(file).err + Restore(file).out, HasSubstr("no other bdr-server uses"));
  // What cannot be written leaves the one before.
  std::filesystem::create_directory(file + ".part");
  EXPECT_THAT(Bdrctl({"cluster", "backup", file}, 4), HasSubstr("cannot write"));
  std::filesystem::remove(file + ".part");
  Bdrctl({"node", "add", "typo", "--address", "127.0.0.1:1", "--no-copy"}, 0);
  Bdrctl({"node", "remove", "typo"}, 0);
  EXPECT_THAT(Bdrctl({"table", "set-policy", "public.t", "first_update_wins"}, 0),
              HasSubstr("in force"));
  const Json before = Nodes();

  // An older one than the agents know: nothing is decided by it.
  LoseServer();
  ASSERT_OK_AND_ASSIGN(const std::string bytes, harness::ReadFile(file));
  ASSERT_OK(harness::WriteFile(file + ".cut", bytes.substr(0, bytes.size() - 1)));
  EXPECT_THAT(Restore(file + ".cut").err, HasSubstr("its checksum is wrong"));
  EXPECT_THAT(Restore(file + ".none").err, HasSubstr("cannot be read"));
  const harness::ProgramResult restored = Restore(file);
  ASSERT_EQ(restored.exit_code, 0) << restored.err;
  EXPECT_THAT(restored.out, HasSubstr("of 2 nodes was restored"));
  EXPECT_EQ(Restore(file).exit_code, 1);
  ASSERT_OK(cluster_->StartServer());
  ASSERT_NO_FATAL_FAILURE(WaitForAnswer({"status"}, "knows epoch"));
  EXPECT_THAT(Bdrctl({"node", "add", "n4", "--address", "127.0.0.1:4", "--no-copy"}, 4),
              HasSubstr("restored from a backup"));
  ASSERT_NO_FATAL_FAILURE(WaitForAnswer({"cluster", "init", "--from-agents"}, "has 2 nodes"));
  EXPECT_EQ(Nodes().at("nodes"), before.at("nodes"));
  ASSERT_NO_FATAL_FAILURE(WaitForPolicy("first_update_wins"));
  ASSERT_NO_FATAL_FAILURE(ExpectHealthyAndWriting());

  // The newest: it is in force by itself, once both were heard.
  Bdrctl({"cluster", "backup", file}, 0);
  LoseServer();
  ASSERT_OK(cluster_->agent("n2").Terminate());
  ASSERT_EQ(Restore(file).exit_code, 0);
  ASSERT_OK(cluster_->StartServer());
  ASSERT_NO_FATAL_FAILURE(WaitForAnswer({"status"}, "no agent of \"n2\""));
  ASSERT_OK(cluster_->StartAgent("n2"));
  ASSERT_NO_FATAL_FAILURE(ExpectHealthyAndWriting());
  EXPECT_THAT(Bdrctl({"node", "add", "n3", "--address", "127.0.0.1:1", "--no-copy"}, 0),
              HasSubstr("has id 4"));
}

// As when a machine's image of yesterday is started: nobody has said that it is a backup.
TEST_F(ServerLossTest, AnOlderFolderIsNotFollowed) {
  BDR_START_CLUSTER(2, kTable);
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  const std::string copy = cluster_->folder() + "/server-copy";
  cluster_->server().Kill9();
  std::filesystem::copy(Folder(), copy, std::filesystem::copy_options::recursive);
  ASSERT_OK(cluster_->StartServer());
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  EXPECT_THAT(Bdrctl({"table", "set-policy", "public.t", "first_update_wins"}, 0),
              HasSubstr("in force"));
  const Json before = Nodes();

  LoseServer(copy);
  ASSERT_OK(cluster_->StartServer());
  ASSERT_NO_FATAL_FAILURE(
      WaitForAnswer({"status"}, "its data_dir is older than what it has told before"));
  ASSERT_NO_FATAL_FAILURE(WaitForAnswer({"cluster", "init", "--from-agents"}, "has 2 nodes"));
  EXPECT_EQ(Nodes().at("nodes"), before.at("nodes"));
  ASSERT_NO_FATAL_FAILURE(WaitForPolicy("first_update_wins"));
  ASSERT_NO_FATAL_FAILURE(ExpectHealthyAndWriting());
}

}  // namespace
}  // namespace bdr::integration
