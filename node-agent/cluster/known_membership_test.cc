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

}  // namespace
}  // namespace bdr::agent
