// A drawing that is misread would be held together with nothing.
#include <filesystem>
#include <fstream>
#include <string>

#include "base/drawn_states_testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bdr {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

enum class Light { kRed, kGreen };

const char* ToString(Light light) {
  switch (light) {
    case Light::kRed:
      return "red";
    case Light::kGreen:
      return "green";
  }
  return "unknown";
}

class DrawnStatesTest : public ::testing::Test {
 protected:
  DrawnMoves Read(const std::string& text) {
    const std::string path = ::testing::TempDir() + "/drawn_states_test." +
                             ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::ofstream(path) << text;
    const DrawnMoves drawn = ReadDrawnMoves(path);
    std::filesystem::remove(path);
    return drawn;
  }
};

TEST_F(DrawnStatesTest, AChainIsOneMoveAfterTheOther) {
  const DrawnMoves drawn = Read("// Opens.\n//   red -> green -> off: somebody -> has gone\n");
  EXPECT_THAT(drawn.states, ElementsAre("green", "off", "red"));
  EXPECT_THAT(drawn.moves, ElementsAre(Pair("green", "off"), Pair("red", "green")));
}

TEST_F(DrawnStatesTest, ACommaIsSeveralMoves) {
  EXPECT_THAT(Read("//   a, b -> c, d\n").moves,
              ElementsAre(Pair("a", "c"), Pair("a", "d"), Pair("b", "c"), Pair("b", "d")));
}

TEST_F(DrawnStatesTest, LabelsAndMovesBothWaysAreRead) {
  EXPECT_THAT(
      Read("//   a, b --the peer or our own log refuses--> c --first message--> a\n"
           "//   c <--> d: as the reason, or its cause, changes\n")
          .moves,
      ElementsAre(Pair("a", "c"), Pair("b", "c"), Pair("c", "a"), Pair("c", "d"), Pair("d", "c")));
}

TEST_F(DrawnStatesTest, TextDrawsNothing) {
  EXPECT_THAT(Read("// a map origin -> position\n//   a line that is set in\nint a->b;\n").states,
              IsEmpty());
  EXPECT_THAT(DrawnStates("/no such file"), IsEmpty());
}

TEST_F(DrawnStatesTest, EveryValueOfTheEnumIsNamed) {
  EXPECT_THAT(NamesOfStates<Light>(), ElementsAre("green", "red"));
}

}  // namespace
}  // namespace bdr
