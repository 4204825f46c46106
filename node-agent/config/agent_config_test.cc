// What an agent must refuse to start with, above all what would put data on the network in clear.
#include "node-agent/config/agent_config.h"

#include <unistd.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bdr::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

absl::StatusOr<AgentConfig> Load(const std::string& text) {
  // Tests run side by side, each in a process of its own.
  const std::string path =
      absl::StrCat(testing::TempDir(), "/agent_config_test_", getpid(), ".yaml");
  std::ofstream(path) << text;
  return LoadAgentConfig(path);
}

constexpr char kLocal[] =
    "node: eu1\ndatabase: host=/run dbname=shop user=bdr\ndata_dir: /var/lib/bdr\n"
    "listen: 127.0.0.1:7400\ncontrol: [127.0.0.1:7500]\n";

TEST(AgentConfigTest, AShortFileIsEnoughOnOneMachine) {
  const auto config = Load(std::string(kLocal) + "insecure: true\n");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->node, "eu1");
  EXPECT_EQ(config->memory_limit, int64_t{256} << 20);
  EXPECT_EQ(config->log_retention_bytes, int64_t{10} << 30);
  EXPECT_EQ(config->max_clock_skew, absl::Milliseconds(500));
  EXPECT_EQ(config->apply_group_max_time, absl::Milliseconds(200));
  EXPECT_EQ(config->conflict_log_max_age, absl::Hours(168));
}

TEST(AgentConfigTest, WithoutInsecureCertificatesAreRequired) {
  const auto config = Load(kLocal);
  ASSERT_FALSE(config.ok());
  EXPECT_THAT(std::string(config.status().message()),
              HasSubstr("missing key tls.certificate, tls.key, tls.ca"));
  EXPECT_TRUE(Load(std::string(kLocal) + "tls: {certificate: c, key: k, ca: a}\n").ok());
}

TEST(AgentConfigTest, InsecureIsRefusedBeyondThisMachine) {
  const std::string rest = "node: eu1\ndatabase: dbname=shop\ndata_dir: d\ninsecure: true\n";
  const char* const wrong[] = {
      "listen: 0.0.0.0:7400\ncontrol: [127.0.0.1:7500]\n",
      "listen: 127.0.0.1:7400\ncontrol: ['[::1]:7500', 10.0.0.1:7500]\n",
      "listen: 127.0.0.1:7400\ncontrol: [localhost:7500]\nmetrics_listen: 0.0.0.0:9100\n",
  };
  for (const char* addresses : wrong) {
    const auto config = Load(rest + addresses);
    ASSERT_FALSE(config.ok()) << addresses;
    EXPECT_THAT(std::string(config.status().message()), HasSubstr("is not a loopback address"));
  }
}

TEST(AgentConfigTest, APasswordInTheFileIsRefusedAndNotRepeated) {
  for (const char* database :
       {"dbname=shop password=hunter2", "postgresql://bdr:hunter2@db/shop", "hunter2 = "}) {
    const auto config =
        Load(std::string("node: eu1\ndata_dir: d\ninsecure: true\nlisten: localhost:1\n"
                         "control: [localhost:2]\ndatabase: \"") +
             database + "\"\n");
    ASSERT_FALSE(config.ok()) << database;
    EXPECT_THAT(std::string(config.status().message()), HasSubstr("without a password"));
    EXPECT_THAT(std::string(config.status().message()), Not(HasSubstr("hunter2")));
  }
}

TEST(AgentConfigTest, NodeNamesFollowTheRule) {
  for (const char* name : {"Eu1", "1eu", "eu_1", "-eu", "eu 1"}) {
    const auto config = Load(std::string("insecure: true\ndatabase: dbname=a\ndata_dir: d\n"
                                         "listen: localhost:1\ncontrol: [localhost:2]\nnode: \"") +
                             name + "\"\n");
    EXPECT_FALSE(config.ok()) << name;
  }
}

}  // namespace
}  // namespace bdr::agent
