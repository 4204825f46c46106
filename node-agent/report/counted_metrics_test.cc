// What is counted of each peer, and what of all of them together.
#include "node-agent/report/counted_metrics.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "node-agent/report/agent_metrics.h"

namespace bdr::agent {
namespace {

using ::testing::HasSubstr;

PeerStatus Peer(const char* name) {
  PeerStatus peer;
  peer.member.name = name;
  return peer;
}

TEST(CountedMetricsTest, RetriesAreCountedByOriginAndErrorsOfAllTogether) {
  Counted counted{.postgres_up = true, .capture_errors = 4, .compactions = 5};
  counted.peers = {Peer("eu1"), Peer("us2")};
  counted.peers[0].apply.retries = 1;
  counted.peers[1].apply.retries = 2;
  counted.peers[0].apply.errors = 10;
  counted.peers[1].apply.errors = 20;
  counted.peers[1].link.failures = 6;

  Metrics metrics(AgentMetrics());
  ShowCounted(counted, &metrics);
  ShowCounted(counted, &metrics);  // totals are not added twice
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("bdr_postgres_up 1"));
  EXPECT_THAT(text, HasSubstr("bdr_compactions_total 5"));
  EXPECT_THAT(text, HasSubstr("bdr_apply_retries_total{origin=\"eu1\"} 1"));
  EXPECT_THAT(text, HasSubstr("bdr_apply_retries_total{origin=\"us2\"} 2"));
  EXPECT_THAT(text, HasSubstr("bdr_errors_total{part=\"apply\"} 30"));
  EXPECT_THAT(text, HasSubstr("bdr_errors_total{part=\"stream\"} 6"));
  EXPECT_THAT(text, HasSubstr("bdr_errors_total{part=\"capture\"} 4"));
}

TEST(CountedMetricsTest, ConflictsOfOneKindAreCountedWhoeverCausedThem) {
  const conflict::ConflictKind kind = conflict::ConflictKind::kInsertExists;
  Counted counted;
  counted.peers = {Peer("eu1"), Peer("us2")};
  for (PeerStatus& peer : counted.peers) {
    peer.apply.conflicts[kind] = 3;
    peer.apply.table_conflicts[{"public.price", "insert_exists"}] = 3;
    peer.apply.orphans = 1;
  }
  Metrics metrics(AgentMetrics());
  ShowCounted(counted, &metrics);
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("bdr_conflicts_by_kind_total{kind=\"insert_exists\"} 6"));
  EXPECT_THAT(text, HasSubstr("bdr_conflicts_by_kind_total{kind=\"foreign_key_orphaned\"} 2"));
  EXPECT_THAT(text, HasSubstr("table=\"public.price\""));
}

}  // namespace
}  // namespace bdr::agent
