// The manual must name every configuration key and every metric, as the programs declare them.
//
// Each table in the docs stands between <!-- begin: NAME --> and <!-- end: NAME -->. After a change
// of a declaration, run this test with BDR_UPDATE_DOCS=1 to write the tables again.
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "node-agent/agent_config.h"
#include "node-agent/agent_metrics.h"
#include "server/server_config.h"
#include "server/server_metrics.h"

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

TEST(DocsTest, MetricsNamesEveryMetricOfTheAgent) {
  ExpectTable("metrics.md", "bdr-agent", MetricsMarkdownTable(agent::AgentMetrics()));
}

TEST(DocsTest, MetricsNamesEveryMetricOfTheServer) {
  ExpectTable("metrics.md", "bdr-server", MetricsMarkdownTable(server::ServerMetrics()));
}

}  // namespace
}  // namespace bdr
