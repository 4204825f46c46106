// Whoever watches a cluster must see all that fits, and have the terminal back afterwards.
#include "ctl/screen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace bdr::ctl {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(FrameTest, DrawsOverWhatWasThereAndClearsTheRest) {
  EXPECT_EQ(Frame("one\ntwo\n", {.rows = 4, .columns = 10}),
            "\033[Hone\033[K\r\ntwo\033[K\r\n\033[J");
  // Nothing is cleared as a whole before it is drawn: that would flicker.
  EXPECT_THAT(Frame("one\n", {}), Not(HasSubstr("\033[2J")));
}

TEST(FrameTest, CutsWhatTheWindowDoesNotHold) {
  EXPECT_EQ(Frame("1\n2\n3\n4\n", {.rows = 3, .columns = 20}),
            "\033[H1\033[K\r\n2\033[K\r\n... 2 more lines\033[K");
  EXPECT_EQ(Frame("1\n2\n3\n", {.rows = 3, .columns = 20}), "\033[H1\033[K\r\n2\033[K\r\n3\033[K");
  EXPECT_EQ(Frame("äöüß\n", {.rows = 3, .columns = 3}), "\033[Häöü\r\n\033[J");
}

// A program on a terminal of its own that shows 40 lines until a signal ends it.
class ScreenTest : public testing::Test {
 protected:
  void SetUp() override {
    const winsize size = {.ws_row = 20, .ws_col = 30, .ws_xpixel = 0, .ws_ypixel = 0};
    child_ = forkpty(&terminal_, nullptr, nullptr, &size);
    ASSERT_GE(child_, 0);
    if (child_ == 0) Show();
  }
  void TearDown() override {
    kill(child_, SIGKILL);
    close(terminal_);
  }

  [[noreturn]] static void Show() {
    std::string text;
    for (int i = 1; i <= 40; ++i) absl::StrAppend(&text, "line ", i, "\n");
    Screen screen(STDOUT_FILENO);
    while (screen.Draw(text).ok()) screen.Wait(absl::Minutes(10));
    _exit(1);
  }

  // What was written up to and with `last`; all until the program's end if that does not come.
  std::string ReadUntil(const std::string& last) {
    std::string text;
    pollfd waited = {.fd = terminal_, .events = POLLIN, .revents = 0};
    while (!absl::EndsWith(text, last) && poll(&waited, 1, 20'000) == 1) {
      char c = 0;
      if (read(terminal_, &c, 1) <= 0) break;
      if (c != '\r') text += c;  // the terminal adds its own
    }
    return text;
  }

  int ExitStatus() {
    int status = 0;
    waitpid(child_, &status, 0);
    return status;
  }

  int terminal_ = -1;
  pid_t child_ = -1;
};

constexpr char kBack[] = "\033[?25h\033[?1049l";

TEST_F(ScreenTest, ShowsWhatFitsAndLeavesTheTerminalAsItWasOnCtrlC) {
  const std::string shown = ReadUntil("... 21 more lines\033[K");
  EXPECT_THAT(shown, StartsWith("\033[?1049h\033[?25l\033[H"));
  EXPECT_THAT(shown, EndsWith("line 19\033[K\n... 21 more lines\033[K"));
  ASSERT_EQ(write(terminal_, "\003", 1), 1);  // Ctrl-C
  EXPECT_THAT(ReadUntil(kBack), EndsWith(kBack));
  const int status = ExitStatus();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT) << status;
}

TEST_F(ScreenTest, DrawsAgainAtOnceWhenTheWindowChanges) {
  ReadUntil("... 21 more lines\033[K");
  const winsize size = {.ws_row = 10, .ws_col = 6, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(ioctl(terminal_, TIOCSWINSZ, &size), 0);
  EXPECT_THAT(ReadUntil("... 31"), EndsWith("line 9\n... 31"));
}

TEST_F(ScreenTest, GivesTheTerminalBackWhileItIsStopped) {
  ReadUntil("... 21 more lines\033[K");
  ASSERT_EQ(write(terminal_, "\032", 1), 1);  // Ctrl-Z
  EXPECT_THAT(ReadUntil(kBack), EndsWith(kBack));
  int status = 0;
  ASSERT_EQ(waitpid(child_, &status, WUNTRACED), child_);
  ASSERT_TRUE(WIFSTOPPED(status));
  kill(child_, SIGCONT);
  EXPECT_THAT(ReadUntil("... 21 more lines\033[K"), StartsWith("\033[?1049h\033[?25l\033[H"));
}

TEST(ScreenPossibleTest, OnlyOnATerminal) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_FALSE(Screen::Possible(ends[1]));
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace bdr::ctl
