// The manual must name every configuration key and every metric, as the programs declare them.
//
// Each table in the docs stands between <!-- begin: NAME --> and <!-- end: NAME -->. After a change
// of a declaration, run this test with BDR_UPDATE_DOCS=1 to write the tables again.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "base/access.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "node-agent/config/agent_config.h"
#include "node-agent/report/agent_metrics.h"
#include "seqam/registry.h"
#include "server/server_config.h"
#include "server/server_metrics.h"
#include "tests/docs/tree.h"

namespace bdr {
namespace {

// Compares what stands between the marks of `name` in docs/`file` with `table`, or replaces it.
void ExpectTable(const std::string& file, const std::string& name, const std::string& table) {
  const std::string path = std::string(BDR_SOURCE_DIR) + "/docs/" + file;
  std::stringstream read;
  read << std::ifstream(path).rdbuf();
  std::string text = read.str();
  const std::string begin = "<!-- begin: " + name + " -->\n";
  const size_t from = text.find(begin);
  const size_t to = text.find("<!-- end: " + name + " -->");
  ASSERT_TRUE(from != std::string::npos && to != std::string::npos)
      << path << " has no marks for " << name;
  const size_t start = from + begin.size();
  if (std::getenv("BDR_UPDATE_DOCS") != nullptr) {
    text.replace(start, to - start, table);
    std::ofstream(path) << text;
    return;
  }
  EXPECT_EQ(text.substr(start, to - start), table)
      << path << " does not fit the declaration; run this test with BDR_UPDATE_DOCS=1";
}

TEST(DocsTest, ConfigurationNamesEveryKeyOfTheAgent) {
  agent::AgentConfig config;
  ExpectTable("configuration.md", "bdr-agent", agent::DeclareAgentConfig(&config).MarkdownTable());
}

TEST(DocsTest, ConfigurationNamesEveryKeyOfTheServer) {
  server::ServerConfig config;
  ExpectTable("configuration.md", "bdr-server",
              server::DeclareServerConfig(&config).MarkdownTable());
}

TEST(DocsTest, SequencesNamesEveryMethod) {
  std::string table = "| method | numbers |\n|---|---|\n";
  for (const seqam::Method* method : seqam::Methods()) {
    table += "| `" + std::string(method->name()) + "` | " + std::string(method->summary()) + " |\n";
  }
  ExpectTable("sequences.md", "sequence-methods", table);
}

TEST(DocsTest, SecurityNamesEveryCallAndWhoMayMakeIt) {
  ExpectTable("security.md", "access", AccessMarkdownTable());
}

TEST(DocsTest, MetricsNamesEveryMetricOfTheAgent) {
  ExpectTable("metrics.md", "bdr-agent", MetricsMarkdownTable(agent::AgentMetrics()));
}

TEST(DocsTest, MetricsNamesEveryMetricOfTheServer) {
  ExpectTable("metrics.md", "bdr-server", MetricsMarkdownTable(server::ServerMetrics()));
}

// Suite.Name of every test in the tree.
std::set<std::string> TestsOfTheTree() {
  std::set<std::string> tests;
  const std::regex test(R"((?:TEST|TEST_F|TEST_P|RC_GTEST_PROP)\(\s*(\w+),\s*(\w+))");
  for (const std::string& file : docs::FilesOfTheTree()) {
    if (!file.ends_with("_test.cc")) continue;
    const std::string text = docs::ReadFile(file);
    for (std::sregex_iterator it(text.begin(), text.end(), test), end; it != end; ++it) {
      tests.insert((*it)[1].str() + "." + (*it)[2].str());
    }
  }
  return tests;
}

TEST(DocsTest, AnomaliesNamesOnlyTestsThatExist) {
  const std::set<std::string> tests = TestsOfTheTree();
  const std::string text = docs::ReadFile("docs/anomalies.md");
  const std::regex named(R"(`(\w+Test\.\w+)`)");
  int named_tests = 0;
  for (std::sregex_iterator it(text.begin(), text.end(), named), end; it != end;
       ++it, ++named_tests) {
    EXPECT_TRUE(tests.contains((*it)[1].str()))
        << "docs/anomalies.md names " << (*it)[1].str() << ", which no file defines";
  }
  const std::regex scenario(R"(`scenario\.([a-z]\w*)`)");
  int named_scenarios = 0;
  for (std::sregex_iterator it(text.begin(), text.end(), scenario), end; it != end;
       ++it, ++named_scenarios) {
    const std::string file = "tests/scenarios/" + (*it)[1].str() + ".scenario";
    EXPECT_TRUE(std::filesystem::exists(std::filesystem::path(BDR_SOURCE_DIR) / file))
        << "docs/anomalies.md names " << (*it)[0].str() << ", and there is no " << file;
  }
  EXPECT_GT(named_tests, 10) << "the table is gone, or its form has changed";
  EXPECT_GT(named_scenarios, 5) << "likewise of scenarios";
}

}  // namespace
}  // namespace bdr
