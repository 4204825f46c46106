// A data folder belongs to one node for ever: whoever takes it for another's would go on from
// positions that mean nothing there.
#include "node-agent/sync/identity.h"

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "base/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "node-agent/sync/data_folder.h"
#include "tests/harness/temp_folder.h"

namespace bdr::agent {
namespace {

using ::testing::HasSubstr;

class IdentityOfFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(temp_, harness::TempFolder::Create());
    OpenAgain();
  }

  void OpenAgain() {
    folder_.reset();
    ASSERT_OK_AND_ASSIGN(folder_, DataFolder::Open(temp_->path(), /*memory_limit=*/256 << 20));
  }

  absl::StatusOr<Identity> Learn(const std::string& node, const Membership& known,
                                 const absl::Status& report = absl::OkStatus()) {
    return LearnIdentity(node, known, report, folder_->database());
  }

  static Membership With(NodeId id, const std::string& name, bool active) {
    return {.cluster_id = "5f0c12ab",
            .epoch = 4,
            .members = {{.id = id, .name = name, .active = active}}};
  }

  std::unique_ptr<harness::TempFolder> temp_;
  std::unique_ptr<DataFolder> folder_;
};

TEST_F(IdentityOfFolderTest, WhatWasGivenOutOnceIsKept) {
  ASSERT_OK_AND_ASSIGN(const Identity given, Learn("eu1", With(3, "eu1", false)));
  EXPECT_EQ(given.own, (OriginId{.node = 3, .incarnation = 1}));
  OpenAgain();
  EXPECT_EQ(folder_->kept_identity(), given.own);
  EXPECT_EQ(folder_->kept_membership(), With(3, "eu1", false));
  ASSERT_OK_AND_ASSIGN(const Identity kept, Learn("eu1", With(3, "eu1", true)));
  EXPECT_EQ(kept.own, given.own);
  EXPECT_EQ(kept.names.slot(), given.names.slot());
}

TEST_F(IdentityOfFolderTest, TheFolderHasAnIdOfItsOwnForGood) {
  const std::string id = folder_->id();
  EXPECT_NE(id, "");
  OpenAgain();
  EXPECT_EQ(folder_->id(), id);
}

TEST_F(IdentityOfFolderTest, AnotherNodesFolderIsRefused) {
  ASSERT_OK(Learn("eu1", With(3, "eu1", true)));
  const absl::Status refused = Learn("us2", With(5, "us2", true)).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("data_dir belongs to node 3"));
}

TEST_F(IdentityOfFolderTest, ANodeThatIsNoMemberYetIsToldHowToBecomeOne) {
  const absl::Status not_yet = Learn("eu1", With(5, "us2", true)).status();
  EXPECT_TRUE(absl::IsNotFound(not_yet));
  EXPECT_THAT(std::string(not_yet.message()), HasSubstr("bdrctl node add eu1"));
}

TEST_F(IdentityOfFolderTest, NobodyIsAMemberBeforeBdrServerHasAnswered) {
  EXPECT_TRUE(absl::IsUnavailable(
      Learn("eu1", Membership{}, absl::UnavailableError("nobody there")).status()));
}

// It may have been removed since: for a node that will never be a member PostgreSQL would keep WAL.
TEST_F(IdentityOfFolderTest, ANodeThatHadNotJoinedWaitsForBdrServersWord) {
  const Membership joining = With(3, "eu1", false);
  ASSERT_OK(Learn("eu1", joining));
  EXPECT_TRUE(
      absl::IsUnavailable(Learn("eu1", joining, absl::UnknownError("no answer yet")).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Learn("eu1", joining, absl::NotFoundError("it was removed")).status()));
  EXPECT_OK(Learn("eu1", joining));
}

TEST_F(IdentityOfFolderTest, ANodeThatHasJoinedStartsWithoutBdrServer) {
  ASSERT_OK(Learn("eu1", With(3, "eu1", true)));
  EXPECT_OK(Learn("eu1", With(3, "eu1", true), absl::UnavailableError("nobody there")));
}

TEST_F(IdentityOfFolderTest, AnEmptyFolderIsNotTakenForAMemberWithAPast) {
  Membership known = With(3, "eu1", true);
  known.members[0].incarnation = 1;
  EXPECT_TRUE(absl::IsFailedPrecondition(Learn("eu1", known).status()));
  OpenAgain();
  EXPECT_EQ(folder_->kept_identity(), std::nullopt);
}

}  // namespace
}  // namespace bdr::agent
