#include "ctl/screen.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/steady_clock.h"

namespace bdr::ctl {
namespace {

// The second screen, without cursor; and back.
constexpr absl::string_view kEnter = "\033[?1049h\033[?25l";
constexpr absl::string_view kLeave = "\033[?25h\033[?1049l";
constexpr absl::string_view kHome = "\033[H";
constexpr absl::string_view kClearLine = "\033[K";
constexpr absl::string_view kClearBelow = "\033[J";

constexpr std::array<int, 3> kEnding = {SIGINT, SIGTERM, SIGHUP};

// What the handlers may use. -1: there is no screen.
std::atomic<int> screen_fd = -1;
std::array<int, 2> wake = {-1, -1};  // a pipe: a byte in it ends Wait()

// All in one call, as far as the terminal takes it: no other write comes between.
bool WriteAll(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

void WakeUp() {
  const ssize_t n = write(wake[1], "", 1);
  (void)n;  // full: it wakes up anyway
}

// Dies of the signal as if nobody had handled it, so that a shell sees what happened.
void OnEnding(int signal_number) {
  const int fd = screen_fd.exchange(-1);
  if (fd >= 0) WriteAll(fd, kLeave);
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

void OnStop(int) {
  const int error = errno;
  const int fd = screen_fd.load();
  WriteAll(fd, kLeave);
  raise(SIGSTOP);
  // SIGCONT came.
  WriteAll(fd, kEnter);
  WakeUp();
  errno = error;
}

void OnResize(int) {
  const int error = errno;
  WakeUp();
  errno = error;
}

void Handle(int signal_number, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(signal_number, &action, nullptr);
}

WindowSize SizeOf(int fd) {
  winsize size = {};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) return {};
  return {.rows = size.ws_row, .columns = size.ws_col};
}

// At most so many characters, not bytes, and nothing of what was there before behind them. Behind
// the last column the cursor still stands on the last character, which would be cleared.
void AppendLine(absl::string_view line, size_t columns, std::string* frame) {
  size_t characters = 0;
  for (const char c : line) {
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80 && ++characters > columns) return;
    *frame += c;
  }
  if (characters < columns) absl::StrAppend(frame, kClearLine);
}

}  // namespace

std::string Frame(absl::string_view text, const WindowSize& window) {
  if (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  if (lines.size() > window.rows) {
    const size_t missing = lines.size() - window.rows + 1;
    lines.resize(window.rows);
    lines.back() = absl::StrCat("... ", missing, " more lines");
  }
  std::string frame(kHome);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) absl::StrAppend(&frame, "\r\n");
    AppendLine(lines[i], window.columns, &frame);
  }
  if (lines.size() < window.rows) absl::StrAppend(&frame, "\r\n", kClearBelow);
  return frame;
}

bool Screen::Possible(int fd) {
  const char* terminal = std::getenv("TERM");
  return isatty(fd) == 1 && terminal != nullptr && std::strcmp(terminal, "dumb") != 0;
}

Screen::Screen(int fd) : fd_(fd) {
  if (pipe2(wake.data(), O_CLOEXEC | O_NONBLOCK) != 0) wake = {-1, -1};  // then only time wakes up
  screen_fd = fd;
  WriteAll(fd, kEnter);
  for (const int ending : kEnding) Handle(ending, &OnEnding);
  Handle(SIGTSTP, &OnStop);
  Handle(SIGWINCH, &OnResize);
}

Screen::~Screen() {
  for (const int ending : kEnding) signal(ending, SIG_DFL);
  signal(SIGTSTP, SIG_DFL);
  signal(SIGWINCH, SIG_DFL);
  if (screen_fd.exchange(-1) >= 0) WriteAll(fd_, kLeave);
  for (int& end : wake) close(std::exchange(end, -1));
}

absl::Status Screen::Draw(absl::string_view text) {
  // gRPC has threads, so a signal may be handled beside this: what has left draws nothing more.
  if (screen_fd < 0 || WriteAll(fd_, Frame(text, SizeOf(fd_)))) return absl::OkStatus();
  return absl::UnavailableError("the terminal cannot be written to");
}

void Screen::Wait(absl::Duration duration) {
  const absl::Time until = SteadyNow() + duration;
  pollfd waited = {.fd = wake[0], .events = POLLIN, .revents = 0};
  while (true) {
    const absl::Duration left = until - SteadyNow();
    if (left <= absl::ZeroDuration()) return;
    const int n = poll(&waited, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
    if (n == 0) return;
    if (n < 0) continue;  // a signal: what it changed is in the pipe
    char bytes[64];
    while (read(wake[0], bytes, sizeof(bytes)) > 0) {
    }
    return;
  }
}

}  // namespace bdr::ctl
