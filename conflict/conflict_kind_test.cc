#include "conflict/conflict_kind.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace bdr::conflict {
namespace {

// docs/architecture.md, section "Conflicts".
std::string Section() {
  std::ifstream file(BDR_SOURCE_DIR "/docs/architecture.md");
  std::stringstream text;
  text << file.rdbuf();
  const std::string all = text.str();
  const size_t from = all.find("\n## Conflicts\n");
  if (from == std::string::npos) return "";
  return all.substr(from, all.find("\n## ", from + 1) - from);
}

// The lists are what other tests and readers go through: a value that they leave out is no part of
// them. ToString() has a switch without a default, so the compiler says what that lacks.
TEST(ConflictKindTest, TheListsAreCompleteAndEveryWordIsUsedOnce) {
  EXPECT_EQ(std::size(kConflictKinds), static_cast<size_t>(ConflictKind::kForeignKeyOrphaned));
  EXPECT_EQ(std::size(kRules), static_cast<size_t>(Rule::kSaidToBeGone));
  std::set<std::string> kinds;
  for (const ConflictKind kind : kConflictKinds) {
    EXPECT_TRUE(kinds.insert(std::string(ToString(kind))).second) << ToString(kind);
  }
  EXPECT_FALSE(kinds.contains(std::string(ToString(ConflictKind::kNone))));
  std::set<std::string> rules;
  for (const Rule rule : kRules) {
    EXPECT_EQ(IsInWords(rule), ToString(rule).empty());
    if (IsInWords(rule)) continue;
    EXPECT_TRUE(rules.insert(std::string(ToString(rule))).second) << ToString(rule);
  }
}

TEST(ConflictKindTest, TheManualExplainsEveryKindRuleAndWinner) {
  const std::string section = Section();
  ASSERT_FALSE(section.empty()) << "docs/architecture.md has no section \"Conflicts\"";
  const auto expect_named = [&section](absl::string_view word) {
    EXPECT_TRUE(absl::StrContains(section, absl::StrCat("`", word, "`"))) << word;
  };
  for (const ConflictKind kind : kConflictKinds) expect_named(ToString(kind));
  for (const Rule rule : kRules) {
    if (!IsInWords(rule)) expect_named(ToString(rule));
  }
  for (const Winner winner : kWinners) expect_named(ToString(winner));
}

}  // namespace
}  // namespace bdr::conflict
