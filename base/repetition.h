// When something that fails and heals again and again is worth a line in the log: at its first
// failure for each cause, when it heals, and then only once it has stood for a while. A stream that
// breaks as soon as it stands, because a disk is full, would otherwise write two lines an attempt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace bdr {

// Not thread-safe. Times are SteadyNow().
class Repetition {
 public:
  // What has worked for so long has healed: the next failure is news, whatever its cause.
  static constexpr absl::Duration kSettled = absl::Seconds(10);
  // A failure that goes on is said again after so long.
  static constexpr absl::Duration kRemindAfter = absl::Minutes(10);

  // It failed. True if that is to be said. `cause` holds nothing that differs between attempts.
  bool Failed(const std::string& cause, absl::Time now) {
    const bool broke = works_since_.has_value();
    if ((broke && now - *works_since_ >= kSettled) || said_.size() >= kMostCauses) said_.clear();
    works_since_.reset();
    told_ = false;
    const auto [said, fresh] = said_.try_emplace(cause, now);
    if (!fresh && now - said->second < kRemindAfter) {
      ++left_out_;
      flaps_ = flaps_ || broke;
      return false;
    }
    said->second = now;
    return true;
  }

  // It works; to be called again and again while it does. True if that is to be said now: at most
  // once until it fails, and only once it has settled if it had broken soon the last times.
  bool Works(absl::Time now) {
    if (!works_since_.has_value()) works_since_ = now;
    if (told_ || (flaps_ && now - *works_since_ < kSettled)) return false;
    told_ = true;
    flaps_ = false;
    return true;
  }

  // What the line says that is written now: `text`, and how many failures were not said since the
  // last one.
  std::string LineText(absl::string_view text) {
    const uint64_t left_out = std::exchange(left_out_, 0);
    if (left_out == 0) return std::string(text);
    return absl::StrCat(text, text.empty() ? "" : "; ", left_out, " more failures were not logged");
  }

 private:
  static constexpr size_t kMostCauses = 16;

  std::map<std::string, absl::Time> said_;  // cause to when
  std::optional<absl::Time> works_since_;
  bool told_ = false;
  bool flaps_ = false;  // it broke soon after it had begun to work, and that was not said
  uint64_t left_out_ = 0;
};

}  // namespace bdr
