// The drawing at the top of the header is what people go by at night: it must have every state.
#include <gtest/gtest.h>

#include <string>

#include "base/drawn_states_testing.h"
#include "node-agent/stream/subscriber.h"

namespace bdr::agent {
namespace {

TEST(LinkStateTest, TheDrawingHasEveryStateAndNoOther) {
  EXPECT_EQ(DrawnStates(std::string(BDR_SOURCE_DIR) + "/node-agent/stream/subscriber.h"),
            NamesOfStates<LinkState>());
}

}  // namespace
}  // namespace bdr::agent
