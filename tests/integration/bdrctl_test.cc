// bdrctl at a real cluster: wrong ports are named, and a cluster is watched on a terminal and off.
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class BdrctlTest : public ClusterTest {
 protected:
  // `bdrctl --insecure ARGUMENTS`, at another server than the cluster's.
  harness::ProgramResult RunAt(const std::string& server, std::vector<std::string> arguments) {
    std::vector<std::string> argv = {cluster_->BdrctlCommand().front(), "--server", server,
                                     "--insecure"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    auto result = harness::RunProgram({.argv = argv});
    EXPECT_OK(result);
    return result.ok() ? *result : harness::ProgramResult();
  }
  std::string ErrorAt(int port) {
    const harness::ProgramResult result = RunAt(absl::StrCat("127.0.0.1:", port), {"status"});
    EXPECT_EQ(result.exit_code, 4) << result.out;
    return result.err;
  }
};

// A program on a terminal of its own.
class OnTerminal {
 public:
  explicit OnTerminal(const std::vector<std::string>& command) {
    std::vector<char*> argv;
    for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const winsize size = {.ws_row = 4, .ws_col = 60, .ws_xpixel = 0, .ws_ypixel = 0};
    child_ = forkpty(&terminal_, nullptr, nullptr, &size);
    if (child_ == 0) {
      setenv("TERM", "xterm", 1);
      execvp(argv[0], argv.data());
      _exit(127);
    }
  }
  ~OnTerminal() {
    kill(child_, SIGKILL);
    close(terminal_);
  }

  // Until `enough` holds of all that came.
  template <typename Enough>
  absl::StatusOr<std::string> Read(Enough enough) {
    const absl::Status status =
        harness::WaitFor("the terminal shows it", kDeadline, [&]() -> absl::StatusOr<bool> {
          pollfd waited = {.fd = terminal_, .events = POLLIN, .revents = 0};
          char bytes[4096];
          while (poll(&waited, 1, 0) == 1) {
            const ssize_t n = read(terminal_, bytes, sizeof(bytes));
            if (n <= 0) break;
            shown_.append(bytes, static_cast<size_t>(n));
          }
          return enough(shown_);
        });
    if (!status.ok()) return status;
    return shown_;
  }
  void Type(char key) { EXPECT_EQ(write(terminal_, &key, 1), 1); }
  int Wait() {
    int status = 0;
    waitpid(child_, &status, 0);
    return status;
  }

 private:
  int terminal_ = -1;
  pid_t child_ = -1;
  std::string shown_;
};

TEST_F(BdrctlTest, NamesWrongPortsAndWatchesInPlace) {
  BDR_START_CLUSTER(2, "CREATE TABLE t (id int PRIMARY KEY)");
  EXPECT_THAT(ErrorAt(cluster_->agent_port("n1")), HasSubstr("this is the port of a bdr-agent"));
  EXPECT_THAT(ErrorAt(cluster_->metrics_port("n1")), HasSubstr("it speaks HTTP"));
  EXPECT_THAT(ErrorAt(std::stoi(Value("n1", "SHOW port"))), HasSubstr("it is a PostgreSQL server"));
  EXPECT_THAT(RunAt("127.0.0.1", {"status"}).err, HasSubstr("is not host:port"));

  std::vector<std::string> watch = cluster_->BdrctlCommand();
  watch.insert(watch.end(), {"status", "--watch", "--interval", "0.1"});
  {
    OnTerminal terminal(watch);
    const auto frames = [](const std::string& shown) {
      return std::vector<std::string>(absl::StrSplit(shown, "\033[H")).size() - 1;
    };
    ASSERT_OK_AND_ASSIGN(const std::string shown,
                         terminal.Read([&](const std::string& s) { return frames(s) >= 3; }));
    EXPECT_THAT(shown, StartsWith("\033[?1049h\033[?25l\033[Hcluster test: OK"));
    EXPECT_THAT(shown, HasSubstr("more lines"));    // four rows are too few
    EXPECT_THAT(shown, Not(HasSubstr("\033[2J")));  // nothing flickers
    // bdr-server goes: that is shown, and the watch goes on.
    cluster_->server().Kill9();
    ASSERT_OK(terminal.Read(
        [](const std::string& s) { return absl::StrContains(s, "\033[Hbdrctl: bdr-server"); }));
    ASSERT_OK(cluster_->StartServer());
    ASSERT_OK(terminal.Read([](const std::string& s) {
      const size_t failed = s.find("\033[Hbdrctl: bdr-server");
      return s.find("\033[Hcluster test:", failed) != std::string::npos;
    }));
    terminal.Type('\003');
    ASSERT_OK(terminal.Read(
        [](const std::string& s) { return absl::EndsWith(s, "\033[?25h\033[?1049l"); }));
    const int status = terminal.Wait();
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT) << status;
  }

  // Off a terminal one picture comes below the other, without anything that only a terminal knows;
  // and the watch ends, as failed, when nobody reads any more.
  ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
  const std::string script =
      absl::StrCat("{ ", absl::StrJoin(watch, " "), "; echo $? >&2; } | head -n 25");
  ASSERT_OK_AND_ASSIGN(const harness::ProgramResult piped,
                       harness::RunProgram({.argv = {"bash", "-c", script}}));
  EXPECT_THAT(piped.out, Not(HasSubstr("\033")));
  EXPECT_GE(std::vector<std::string>(absl::StrSplit(piped.out, "\n\ncluster test: OK")).size(), 2u)
      << piped.out;
  EXPECT_THAT(piped.err,
              ::testing::AnyOf(HasSubstr("standard output cannot be written"), HasSubstr("141")));
}

}  // namespace
}  // namespace bdr::integration
