#include "ctl/wrong_word.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ctl/command.h"

namespace bdr::ctl {
namespace {

TEST(WrongWordTest, NamesTheWordAndTheNearestVerb) {
  CLI::App app;
  Invocation invocation;
  BuildApp(&app, &invocation);
  EXPECT_EQ(WrongWord(app, {"statsu"}),
            "\"statsu\" is no verb of bdrctl; did you mean \"status\"?");
  EXPECT_EQ(WrongWord(app, {"--server", "node:1", "--insecure", "node", "lst"}),
            "\"lst\" is no verb of bdrctl node; did you mean \"list\"?");
  EXPECT_EQ(WrongWord(app, {"xylophone"}), "\"xylophone\" is no verb of bdrctl");
  EXPECT_EQ(WrongWord(app, {"node", "show", "lst"}), "");
  EXPECT_EQ(WrongWord(app, {"node"}), "");
  EXPECT_EQ(WrongWord(app, {}), "");
}

}  // namespace
}  // namespace bdr::ctl
