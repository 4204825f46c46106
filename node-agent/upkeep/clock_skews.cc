#include "node-agent/upkeep/clock_skews.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/logging.h"
#include "node-agent/clocks/clock_gate.h"

namespace bdr::agent {
namespace {

std::string Text(const std::string& peer, int64_t ahead_us) {
  return ahead_us > 0 ? absl::StrCat("the clock of \"", peer, "\" is ", RoughDuration(ahead_us),
                                     " ahead of this server's, which will hold its changes")
                      : absl::StrCat("this server's clock is ", RoughDuration(-ahead_us),
                                     " ahead of that of \"", peer,
                                     "\", which will hold this node's changes");
}

}  // namespace

void ClockSkews::Look(absl::Time now, const std::vector<Skew>& skews) {
  std::vector<std::pair<std::string, int64_t>> told;
  std::vector<std::string> right;
  {
    MutexLock lock(&mu_);
    std::map<std::string, Out> out;
    for (const Skew& skew : skews) {
      if (std::abs(skew.ahead_us) <= absl::ToInt64Microseconds(max_skew_)) continue;
      const auto before = out_.find(skew.peer);
      Out& entry = out[skew.peer];
      entry = before != out_.end() ? before->second
                                   : Out{.ahead_us = 0, .since = now, .since_clock = absl::Now()};
      entry.ahead_us = skew.ahead_us;
      if (entry.told || now - entry.since < kPatience) continue;
      entry.told = true;
      told.emplace_back(skew.peer, skew.ahead_us);
    }
    for (const auto& [peer, entry] : out_) {
      if (entry.told && !out.contains(peer)) right.push_back(peer);
    }
    out_ = std::move(out);
  }
  for (const auto& [peer, ahead_us] : told) {
    LogWarning("clock", {{"state", "right->out"}, {"peer", peer}, {"ahead_us", ahead_us}},
               Text(peer, ahead_us));
  }
  for (const std::string& peer : right) {
    LogInfo("clock", {{"state", "out->right"}, {"peer", peer}});
  }
}

Health ClockSkews::health() const {
  std::vector<std::string> texts;
  absl::Time since = absl::InfiniteFuture();
  {
    MutexLock lock(&mu_);
    for (const auto& [peer, entry] : out_) {
      if (!entry.told) continue;
      texts.push_back(Text(peer, entry.ahead_us));
      since = std::min(since, entry.since_clock);
    }
  }
  if (texts.empty()) return {};
  return {
      .level = Health::Level::kWarning,
      .state = "clock_skew",
      .reason = absl::StrCat(absl::StrJoin(texts, "; "), " (max_clock_skew is ",
                             absl::FormatDuration(max_skew_), "): set the clocks right, with NTP"),
      .since = since};
}

}  // namespace bdr::agent
