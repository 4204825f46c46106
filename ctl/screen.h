// A terminal on which one text is shown in place, again and again (bdrctl status --watch).
//
// The text is drawn over the one before, each line cleared behind its end and the rest below it, so
// that nothing flickers. It has the terminal's second screen for itself: whoever comes back finds
// the first one as it was, however the program ends.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace bdr::ctl {

struct WindowSize {
  size_t rows = 24;
  size_t columns = 80;
};

// What is written to a terminal of that size to have `text` on it and nothing else. Lines that are
// too long are cut; if there are too many, the last row says how many are missing.
std::string Frame(absl::string_view text, const WindowSize& window);

// Not thread-safe, and one at a time: it handles the signals that end, stop and resize.
class Screen {
 public:
  // Whether there is a terminal behind `fd` that can do this.
  static bool Possible(int fd);

  explicit Screen(int fd);
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // kUnavailable once the terminal is gone.
  absl::Status Draw(absl::string_view text);

  // Until so much time has passed, or the window has another size or was covered: then it is to be
  // drawn again.
  void Wait(absl::Duration duration);

 private:
  const int fd_;
};

}  // namespace bdr::ctl
