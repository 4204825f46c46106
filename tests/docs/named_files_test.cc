// What the documents name is there: every file of the tree, and every page that they link to. Code
// moves, and whoever reads of it looks for it where it was.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "tests/docs/tree.h"

namespace bdr::docs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Paths between `backticks`, from the root of the tree on. A "*" stands for any part of a name.
std::vector<std::string> FilesNamedIn(const std::string& text) {
  static const auto* const kNamed = new std::regex(
      "`((?:base|bench|cmake|conflict|ctl|deploy|docs|node-agent|postgres|proto|seqam|server|tests)"
      "/[^`\\s]*)`");
  std::vector<std::string> files;
  for (std::sregex_iterator it(text.begin(), text.end(), *kNamed), end; it != end; ++it) {
    files.push_back((*it)[1].str());
  }
  return files;
}

// Where [text](page.md#section) leads, without the section; what lies on other hosts is left out.
std::vector<std::string> PagesLinkedIn(const std::string& text) {
  static const auto* const kLink = new std::regex(R"(\]\(([^)#:\s]+)(?:#[^)]*)?\))");
  std::vector<std::string> pages;
  for (std::sregex_iterator it(text.begin(), text.end(), *kLink), end; it != end; ++it) {
    pages.push_back((*it)[1].str());
  }
  return pages;
}

// Whether a file or folder of this name is among them.
bool Has(const std::set<std::string>& files, std::string name) {
  while (name.ends_with("/")) name.pop_back();
  if (const size_t star = name.find('*'); star != std::string::npos) {
    const std::string before = name.substr(0, star);
    const std::string behind = name.substr(star + 1);
    for (const std::string& file : files) {
      if (file.starts_with(before) && file.ends_with(behind)) return true;
    }
    return false;
  }
  const auto at = files.lower_bound(name + "/");
  return files.contains(name) || (at != files.end() && at->starts_with(name + "/"));
}

// "document: name" for each that is not there.
std::vector<std::string> NamedAndNotThere(const std::string& document, const std::string& text,
                                          const std::set<std::string>& files) {
  std::vector<std::string> missing;
  for (const std::string& name : FilesNamedIn(text)) {
    if (!Has(files, name)) missing.push_back(document + ": " + name);
  }
  for (const std::string& page : PagesLinkedIn(text)) {
    const std::filesystem::path path = std::filesystem::path(document).parent_path() / page;
    if (!Has(files, path.lexically_normal())) missing.push_back(document + ": " + page);
  }
  return missing;
}

TEST(NamedFilesTest, EveryFileThatTheDocumentsNameExists) {
  const std::vector<std::string> all = FilesOfTheTree();
  const std::set<std::string> files(all.begin(), all.end());
  int documents = 0;
  size_t named = 0;
  for (const std::string& file : files) {
    if (!file.ends_with(".md")) continue;
    const std::string text = ReadFile(file);
    EXPECT_THAT(NamedAndNotThere(file, text, files), IsEmpty());
    ++documents;
    named += FilesNamedIn(text).size();
  }
  EXPECT_GT(documents, 10);
  EXPECT_GT(named, 80u) << "the tables of CONTRIBUTING.md are gone, or their form has changed";
}

TEST(NamedFilesTest, WhatIsNotThereIsFound) {
  const std::set<std::string> files = {"base/a.h", "docs/b.md", "tests/docs/c.cc"};
  EXPECT_THAT(NamedAndNotThere("docs/b.md",
                               "`base/a.h` `base/` `base/*.h` [x](b.md#there) [y](../base/a.h)"
                               " [z](https://example.org/q.md) `other/word`",
                               files),
              IsEmpty());
  EXPECT_THAT(
      NamedAndNotThere("docs/b.md", "`base/z.h`, `base/*.cc`, `tests/d/`, [x](z.md#b)", files),
      ElementsAre("docs/b.md: base/z.h", "docs/b.md: base/*.cc", "docs/b.md: tests/d/",
                  "docs/b.md: z.md"));
}

}  // namespace
}  // namespace bdr::docs
