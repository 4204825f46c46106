// What becomes of sequences, as bdr-server shows it to those who watch the cluster from one place.
#include "server/server_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "bdr/v1/control.pb.h"

namespace bdr::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

v1::SequenceState Sequence(uint32_t number, const std::string& name) {
  v1::SequenceState state;
  state.set_number(number);
  state.set_name(name);
  state.set_method("galloc");
  state.set_data_type("integer");
  state.set_last(1000);
  state.set_next(751);
  return state;
}

class ShowSequencesTest : public ::testing::Test {
 protected:
  v1::ReportedStatus* AddNode(const std::string& name) {
    v1::ReportedStatus* node = cluster_.add_nodes();
    node->mutable_member()->set_name(name);
    return node;
  }
  void Draw(v1::ReportedStatus* node, uint32_t number, uint64_t reserve, double per_second) {
    v1::SequenceStatus* sequence = node->mutable_status()->add_sequences();
    sequence->set_number(number);
    sequence->set_reserve(reserve);
    sequence->set_per_second(per_second);
  }
  std::string Text(const std::vector<v1::SequenceState>& sequences) {
    ShowSequences(sequences, cluster_, &metrics_);
    return metrics_.Text();
  }
  static std::string Line(const std::string& metric, const std::string& value,
                          const std::string& sequence = "public.s") {
    return absl::StrCat("bdr_server_sequence_", metric, "{sequence=\"", sequence, "\"} ", value,
                        "\n");
  }

  v1::ClusterStatusResponse cluster_;
  Metrics metrics_{ServerMetrics()};
};

TEST_F(ShowSequencesTest, NodesAreTakenTogether) {
  Draw(AddNode("n1"), 7, 900, 2);
  Draw(AddNode("n2"), 7, 40, 0.5);
  AddNode("n3")->mutable_status();  // has not converted it
  AddNode("n4");                    // has told nothing yet
  EXPECT_THAT(
      Text({Sequence(7, "public.s")}),
      AllOf(HasSubstr(Line("used_ratio", "0.75")), HasSubstr(Line("drawn_per_second", "2.5")),
            HasSubstr(Line("exhausted_in_seconds", "100")), HasSubstr(Line("least_reserve", "40")),
            HasSubstr(Line("unconverted_nodes", "1"))));
}

TEST_F(ShowSequencesTest, WhatNobodyDrawsFromLastsForEver) {
  Draw(AddNode("n1"), 7, 900, 0.001);
  EXPECT_THAT(Text({Sequence(7, "public.s")}), HasSubstr(Line("exhausted_in_seconds", "+Inf")));
}

// Nobody is to be woken by what was converted to another method.
TEST_F(ShowSequencesTest, ASequenceThatLeftTheMethodShowsNothingWrong) {
  AddNode("n1")->mutable_status();
  v1::SequenceState sequence = Sequence(7, "public.s");
  EXPECT_THAT(Text({sequence}), HasSubstr(Line("unconverted_nodes", "1")));
  sequence.set_method("local");
  EXPECT_THAT(
      Text({sequence}),
      AllOf(HasSubstr(Line("used_ratio", "0")), HasSubstr(Line("exhausted_in_seconds", "+Inf")),
            HasSubstr(Line("least_reserve", "+Inf")), HasSubstr(Line("unconverted_nodes", "0"))));
}

TEST_F(ShowSequencesTest, MoreThanAnybodyWatchesAreNotShown) {
  std::vector<v1::SequenceState> sequences;
  for (uint32_t i = 1; i <= 501; ++i) sequences.push_back(Sequence(i, absl::StrCat("s", i)));
  EXPECT_THAT(Text(sequences),
              AllOf(HasSubstr(Line("used_ratio", "0.75", "s500")), Not(HasSubstr("s501"))));
}

}  // namespace
}  // namespace bdr::server
