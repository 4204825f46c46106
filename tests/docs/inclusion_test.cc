// Inclusion runs downward, never up, and no two folders know each other: of the tree as it stands,
// and of made-up files, which show that what is wrong would be found.
#include "tests/docs/inclusion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/docs/tree.h"

namespace bdr::docs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// Three programs that meet on the wire alone.
constexpr const char* kPrograms[] = {"node-agent", "server", "ctl"};

// The rooms of node-agent/apply are one library, so no CMakeLists.txt gives their order.
const std::vector<std::string>& RoomsOfApply() {
  static const auto* const kRooms =
      new std::vector<std::string>{"session", "plan", "letters", "write", "foreign_keys", "drive"};
  return *kRooms;
}

Layout LayoutOfTheTree() {
  return {{"", SubdirectoriesOf(ReadFile("CMakeLists.txt"))},
          {"node-agent", SubdirectoriesOf(ReadFile("node-agent/CMakeLists.txt"))},
          {"node-agent/apply", RoomsOfApply()}};
}

std::vector<SourceFile> SourcesOfTheTree() {
  std::vector<SourceFile> files;
  for (const std::string& path : FilesOfTheTree()) {
    const std::string kind = std::filesystem::path(path).extension();
    if (kind == ".h" || kind == ".cc") files.push_back({path, ReadFile(path)});
  }
  return files;
}

TEST(InclusionTest, RunsDownwardEverywhere) {
  const std::vector<SourceFile> files = SourcesOfTheTree();
  ASSERT_GT(files.size(), 500u) << "the tree was not found";
  ASSERT_GT(LayoutOfTheTree()["node-agent"].size(), 10u)
      << "node-agent/CMakeLists.txt was not read";
  EXPECT_THAT(WrongIncludes(files, LayoutOfTheTree()), IsEmpty());
}

TEST(InclusionTest, ProgramsDoNotKnowEachOther) {
  for (const SourceFile& file : SourcesOfTheTree()) {
    for (const std::string one : kPrograms) {
      if (!file.path.starts_with(one + "/")) continue;
      for (const std::string other : kPrograms) {
        if (one == other) continue;
        EXPECT_THAT(file.text, ::testing::Not(HasSubstr("#include \"" + other + "/"))) << file.path;
      }
    }
  }
}

// Headers that make whoever includes them compile gRPC or generated messages. The list may get
// shorter; for a new one there has to be a reason why a forward declaration does not do.
TEST(InclusionTest, FewHeadersNeedMessages) {
  EXPECT_THAT(HeadersWithMessages(SourcesOfTheTree()),
              UnorderedElementsAre("ctl/conflict_view.h", "ctl/rpc.h", "ctl/wrong_port.h",
                                   "node-agent/cluster/servers.h", "server/finish_call.h",
                                   "server/locks.h", "server/store/etcd_client.h"));
}

const Layout& TwoFloors() {
  static const auto* const kLayout =
      new Layout{{"", {"base", "proto", "house"}}, {"house", {"cellar", "hall"}}};
  return *kLayout;
}

TEST(InclusionTest, WhatRunsUpIsFound) {
  EXPECT_THAT(WrongIncludes({{"base/a.h", "#include \"house/hall/b.h\"\n"}, {"house/hall/b.h", ""}},
                            TwoFloors()),
              ElementsAre(HasSubstr("base/a.h includes house/hall/b.h, which stands above it")));
  EXPECT_THAT(WrongIncludes({{"house/cellar/a.cc", "#include <x>\n#include \"house/hall/b.h\"\n"}},
                            TwoFloors()),
              ElementsAre(HasSubstr("house/cellar/a.cc includes house/hall/b.h")));
  // What lies in a folder itself stands above all folders in it.
  EXPECT_THAT(WrongIncludes({{"house/hall/a.cc", "#include \"house/top.h\"\n"}}, TwoFloors()),
              ElementsAre(HasSubstr("house/hall/a.cc includes house/top.h")));
  EXPECT_THAT(WrongIncludes({{"base/a.cc", "#include \"bdr/v1/admin.pb.h\"\n"}}, TwoFloors()),
              ElementsAre(HasSubstr("base/a.cc includes proto/bdr/v1/admin.pb.h")));
}

TEST(InclusionTest, WhatRunsDownOrIsATestIsRight) {
  EXPECT_THAT(
      WrongIncludes({{"house/top.cc", "#include \"house/hall/a.h\"\n"},
                     {"house/hall/a.h", "#include \"house/cellar/b.h\"\n#include \"x/y.h\"\n"},
                     {"house/cellar/b.h", "#include \"base/c.h\"\n#include <string>\n"},
                     {"base/c.h", "#include \"base/d.h\"\n#include \"gtest/gtest.h\"\n"},
                     {"base/c_test.cc", "#include \"house/hall/a.h\"\n"}},
                    TwoFloors()),
      IsEmpty());
}

TEST(InclusionTest, FoldersThatKnowEachOtherAreFound) {
  EXPECT_THAT(WrongIncludes({{"base/one/a.h", "#include \"base/two/b.h\"\n"},
                             {"base/two/b.h", "#include \"base/three/c.h\"\n"},
                             {"base/three/d.h", "#include \"base/one/e.h\"\n"},
                             {"base/four/f.h", "#include \"base/one/a.h\"\n"}},
                            TwoFloors()),
              UnorderedElementsAre(HasSubstr("base/one and base/two know each other"),
                                   HasSubstr("base/two and base/three know each other"),
                                   HasSubstr("base/three and base/one know each other")));
}

TEST(InclusionTest, AFolderWithoutAPlaceAndATestsHeaderInProductionAreFound) {
  EXPECT_THAT(WrongIncludes({{"house/attic/a.h", ""}}, TwoFloors()),
              ElementsAre(HasSubstr("folder house/attic has no place in the order of house")));
  EXPECT_THAT(WrongIncludes({{"house/hall/a.cc", "#include \"base/testing.h\"\n"}}, TwoFloors()),
              ElementsAre(HasSubstr("base/testing.h, which is for tests")));
}

TEST(InclusionTest, HeadersWithMessagesAreFound) {
  EXPECT_THAT(HeadersWithMessages({{"base/a.h", "#include \"bdr/v1/admin.pb.h\"\n"},
                                   {"base/b.h", "#include <grpcpp/grpcpp.h>\n"},
                                   {"base/c.h", "#include <string>\n"},
                                   {"base/d.cc", "#include <grpcpp/grpcpp.h>\n"},
                                   {"base/e_testing.h", "#include <grpcpp/grpcpp.h>\n"}}),
              ElementsAre("base/a.h", "base/b.h"));
}

TEST(InclusionTest, TheOrderIsThatOfTheBuild) {
  EXPECT_THAT(SubdirectoriesOf("# why\nadd_subdirectory(base)\nif(X)\n  add_subdirectory( b-c )\n"),
              ElementsAre("base", "b-c"));
}

}  // namespace
}  // namespace bdr::docs
