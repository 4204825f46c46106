// A bdr-server that has lost its memory, or is another cluster's, must not make an agent forget.
#include "node-agent/cluster/known_membership.h"

#include "gtest/gtest.h"

namespace bdr::agent {
namespace {

Membership At(const char* cluster, uint64_t epoch) {
  return {.cluster_id = cluster, .epoch = epoch};
}

TEST(KnownMembershipTest, WhateverComesFirstIsTaken) {
  KnownMembership known;
  EXPECT_TRUE(known.Take(At("red", 3)));
  EXPECT_EQ(known.Get(), At("red", 3));
}

TEST(KnownMembershipTest, ALaterOneIsTakenAndTheSameAgain) {
  KnownMembership known;
  known.Load(At("red", 3));
  EXPECT_TRUE(known.Take(At("red", 3)));
  EXPECT_TRUE(known.Take(At("red", 4)));
  EXPECT_EQ(known.Get().epoch, 4);
}

TEST(KnownMembershipTest, AnOlderOneThanWasWrittenDownIsIgnored) {
  KnownMembership known;
  known.Load(At("red", 3));
  EXPECT_FALSE(known.Take(At("red", 2)));
  EXPECT_EQ(known.Get(), At("red", 3));
}

TEST(KnownMembershipTest, AnotherClusterIsIgnoredHoweverNew) {
  KnownMembership known;
  known.Load(At("red", 3));
  EXPECT_FALSE(known.Take(At("blue", 9)));
  EXPECT_EQ(known.Get(), At("red", 3));
}

TEST(KnownMembershipTest, AMemberIsFoundByItsIdAndNobodyElse) {
  Membership told = At("red", 3);
  told.members = {{.id = 2, .name = "eu1", .data_dir_id = "abc"}};
  KnownMembership known;
  EXPECT_TRUE(known.Take(told));
  EXPECT_TRUE(known.Has(2));
  EXPECT_EQ(known.NameOf(2), "eu1");
  EXPECT_EQ(known.DataDirOf(2), "abc");
  EXPECT_FALSE(known.Has(1));
  EXPECT_EQ(known.NameOf(1), "");
  EXPECT_EQ(known.DataDirOf(1), "");
}

}  // namespace
}  // namespace bdr::agent
