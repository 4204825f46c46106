// docs/bdrctl.md, --help and the code name the same verbs and options; every verb has examples.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "ctl/command.h"

namespace bdr::ctl {
namespace {

// "bdrctl node add" to its options and positionals: "--address", "NAME". The program itself is
// "bdrctl".
using Surface = std::map<std::string, std::set<std::string>>;

std::set<std::string> OptionsOf(const CLI::App* app) {
  std::set<std::string> options;
  for (const CLI::Option* option : app->get_options()) {
    for (const std::string& name : option->get_lnames()) {
      if (name != "help") options.insert(absl::StrCat("--", name));
    }
    if (option->get_positional()) options.insert(option->get_name(true, false));
  }
  return options;
}

void Collect(const CLI::App* app, const std::string& path, Surface& surface) {
  const auto subs = app->get_subcommands([](const CLI::App*) { return true; });
  if (subs.empty() || path == "bdrctl") surface[path] = OptionsOf(app);
  for (const CLI::App* sub : subs) Collect(sub, absl::StrCat(path, " ", sub->get_name()), surface);
}

Surface FromCode() {
  CLI::App app;
  Invocation invocation;
  BuildApp(&app, &invocation);
  Surface surface;
  Collect(&app, "bdrctl", surface);
  return surface;
}

// Each heading "## `bdrctl node add`" begins a section; a table row "| `--address` | ..." in it is
// an option.
Surface FromDocs() {
  std::ifstream file(BDR_SOURCE_DIR "/docs/bdrctl.md");
  std::stringstream text;
  text << file.rdbuf();
  Surface surface;
  std::string section;
  for (absl::string_view line : absl::StrSplit(text.str(), '\n')) {
    if (absl::StartsWith(line, "## `bdrctl")) {
      const std::vector<std::string> parts = absl::StrSplit(line, '`');
      section = parts.size() > 1 ? parts[1] : "";
      surface[section];
    } else if (!section.empty() && absl::StartsWith(line, "| `")) {
      const std::vector<std::string> parts = absl::StrSplit(line, '`');
      // "-o, --output" is one option with two names, of which the long one counts.
      for (absl::string_view name : absl::StrSplit(parts[1], ", ")) {
        if (!absl::StartsWith(name, "-") || absl::StartsWith(name, "--")) {
          surface[section].insert(std::string(name));
        }
      }
    }
  }
  return surface;
}

TEST(BdrctlDocsTest, DocsAndCodeNameTheSameVerbsAndOptions) {
  const Surface code = FromCode();
  const Surface docs = FromDocs();
  for (const auto& [verb, options] : code) {
    ASSERT_EQ(docs.count(verb), 1u) << "docs/bdrctl.md has no section ## `" << verb << "`";
    EXPECT_EQ(docs.at(verb), options) << verb;
  }
  for (const auto& [verb, options] : docs) {
    EXPECT_EQ(code.count(verb), 1u) << "docs/bdrctl.md explains `" << verb << "`, which is no verb";
  }
}

void ExpectExamples(const CLI::App* app, const std::string& path) {
  EXPECT_THAT(app->get_footer(), ::testing::HasSubstr("Examples:")) << path;
  EXPECT_THAT(app->get_footer(), ::testing::HasSubstr("bdrctl")) << path;
  EXPECT_FALSE(app->get_description().empty()) << path;
  for (const CLI::App* sub : app->get_subcommands([](const CLI::App*) { return true; })) {
    ExpectExamples(sub, absl::StrCat(path, " ", sub->get_name()));
  }
}

TEST(BdrctlDocsTest, EveryHelpHasExamples) {
  CLI::App app;
  Invocation invocation;
  BuildApp(&app, &invocation);
  ExpectExamples(&app, "bdrctl");
}

// A whole run, up to what it prints.
struct Ran {
  int exit_code = 0;
  std::string out;
};
Ran RunLine(const std::string& line) {
  CLI::App app;
  Invocation invocation;
  std::ostringstream out;
  invocation.out = &out;
  BuildApp(&app, &invocation);
  try {
    app.parse(line);
  } catch (const CLI::ParseError& error) {
    return {error.get_exit_code() == 0 ? kGood : kUsage, out.str()};
  }
  invocation.globals.format = *ParseOutputFormat(invocation.globals.format_name);
  const auto code = invocation.run();
  return {code.ok() ? *code : kFailed, out.str()};
}

TEST(BdrctlTest, ExitCodesOfErrorsAreNotThoseOfVerdicts) {
  EXPECT_EQ(RunLine("version").exit_code, kGood);
  EXPECT_EQ(RunLine("").exit_code, kUsage);
  EXPECT_EQ(RunLine("node").exit_code, kUsage);
  EXPECT_EQ(RunLine("nonsense").exit_code, kUsage);
  EXPECT_EQ(RunLine("status -o xml").exit_code, kUsage);
  EXPECT_EQ(RunLine("--help").exit_code, kGood);
  EXPECT_EQ(RunLine("node setup-sql --role a;b").exit_code, kFailed);
  // Nobody listens on the discard port.
  EXPECT_EQ(RunLine("--insecure --server 127.0.0.1:9 status").exit_code, kFailed);
  // Plaintext to another machine is refused, not tried.
  EXPECT_EQ(RunLine("--insecure --server 192.0.2.1:7400 status").exit_code, kFailed);
}

TEST(BdrctlTest, GlobalOptionsMayFollowTheVerb) {
  const Ran ran = RunLine("version -o json");
  EXPECT_EQ(Json::parse(ran.out)["version"].is_string(), true);
  EXPECT_EQ(RunLine("version --output yaml").out.substr(0, 9), "version: ");
}

TEST(BdrctlTest, CompletionKnowsEveryVerb) {
  const std::string script = RunLine("completion bash").out;
  for (const auto& [verb, options] : FromCode()) {
    EXPECT_THAT(script, ::testing::HasSubstr(absl::StrCat("'", verb, "')")));
    for (const std::string& option : options) {
      if (!absl::StartsWith(option, "--")) continue;
      EXPECT_THAT(script, ::testing::HasSubstr(option));
    }
  }
}

}  // namespace
}  // namespace bdr::ctl
