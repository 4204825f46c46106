// Wakes a thread that waits in poll().
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

namespace bdr {

// Wake() from any thread; Clear() by the one that waits.
class WakeFd {
 public:
  WakeFd() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~WakeFd() {
    if (fd_ >= 0) close(fd_);
  }
  WakeFd(const WakeFd&) = delete;
  WakeFd& operator=(const WakeFd&) = delete;

  // Readable from a Wake() to the next Clear(). Negative where the process has no descriptor left:
  // poll() ignores such, and the waiting thread sees to it at its timeout.
  int fd() const { return fd_; }

  void Wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof(one));
  }
  // Before looking for what one was woken for, so that nothing is missed.
  void Clear() {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(fd_, &count, sizeof(count));
  }

 private:
  const int fd_;
};

}  // namespace bdr
