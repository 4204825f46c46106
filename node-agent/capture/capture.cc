#include "node-agent/capture/capture.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/logging.h"
#include "base/steady_clock.h"
#include "base/thread_name.h"
#include "postgres/connection.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kShortestBackoff = absl::Milliseconds(100);
constexpr absl::Duration kLongestBackoff = absl::Seconds(5);
// A session that went on for so long has not failed at where it began.
constexpr absl::Duration kLasted = absl::Seconds(10);
// How long the server may need to let go of the slot of a session that ended.
constexpr absl::Duration kLettingGo = absl::Seconds(5);
constexpr absl::Duration kUntilLetGo = absl::Milliseconds(20);
constexpr absl::string_view kSlotInUse = "55006";
// Reading as text costs much, and each change of the reading a new start of the stream. So where
// such values keep coming, it stays longer each time.
constexpr absl::Duration kSoonAgain = absl::Minutes(1);
constexpr absl::Duration kMaxStay = absl::Minutes(1);

}  // namespace

Capture::Capture(Options options, Parts parts)
    : options_(std::move(options)),
      parts_(parts),
      waits_(parts.in_flight.keys),
      skips_(parts.stores.database, parts.gaps),
      room_(parts.stores, options_.log_cap_bytes, &waits_) {}

Capture::~Capture() { Stop(); }

void Capture::Start() {
  thread_ = std::thread([this] {
    NameThread("bdr-capture");
    Run();
  });
}

void Capture::Stop() {
  waits_.Stop();
  skips_.Stop();
  if (thread_.joinable()) thread_.join();
}

// It lets go of the slot, as it is gone when its end is returned.
SessionEnd Capture::RunSession() {
  CaptureSession session({.options = &options_,
                          .parts = &parts_,
                          .waits = &waits_,
                          .skips = &skips_,
                          .room = &room_,
                          .health = &health_},
                         reading_);
  return session.Run();
}

// What a session ended for is looked at from the harmless to what a person must mend: it is to
// begin anew in another way; our own last session still holds the slot; what cannot be decoded is
// to be met without streaming; it is known, and may be passed. Only what is left is shown, and
// waited for. A skip that is asked for during that wait ends it and is done at once: to decode up
// to there once more could take longer than who asks waits.
void Capture::Run() {
  absl::Duration backoff = kShortestBackoff;
  while (!waits_.stopping()) {
    const absl::Time begun = SteadyNow();
    const SessionEnd end = RunSession();
    if (waits_.stopping()) break;
    if (GoesOnAtOnce(end)) continue;
    if (postgres::Sqlstate(end.status) == kSlotInUse && begun - let_go_ < kLettingGo) {
      waits_.Sleep(kUntilLetGo);
      continue;
    }
    const bool lasted = SteadyNow() - begun > kLasted;
    if (lasted) backoff = kShortestBackoff;
    if (end.failed_to_decode && std::exchange(reading_.streaming, false)) continue;
    absl::Status status = end.status;
    if (Passed(end, lasted, &status)) continue;
    ShowFailure(status);
    waits_.CountError();
    skips_.SleepUntilAsked(SteadyNow() + backoff);
    backoff = std::min(backoff * 2, kLongestBackoff);
    // If it fails, it ends the skip, which says so.
    if (end.undecodable.has_value() && !waits_.stopping()) (void)skips_.Pass(*end.undecodable);
  }
  health_.Set(Health::Level::kWarning, CaptureState::kStopped, "the agent is shutting down");
}

bool Capture::GoesOnAtOnce(const SessionEnd& end) {
  switch (end.why) {
    case SessionEnd::Why::kFailed:
      return false;
    case SessionEnd::Why::kPaused:
      Pause();
      return true;
    case SessionEnd::Why::kForgets:
      LogInfo("capture", {{"state", "forgetting_relations"},
                          {"slot", parts_.positions.names->slot()},
                          {"lsn", ToString(end.decoded)}});
      let_go_ = SteadyNow();
      return true;
    case SessionEnd::Why::kNeedsText:
      ReadAsText(end);
      return true;
    case SessionEnd::Why::kTextHasPassed:
      ReadInBinary(end);
      return true;
  }
  return false;
}

void Capture::ReadAsText(const SessionEnd& end) {
  const absl::Time now = SteadyNow();
  const bool soon = now - reading_changed_ < kSoonAgain;
  reading_changed_ = let_go_ = now;
  reading_.as_text = true;
  reading_.why = std::string(end.status.message());
  reading_.stay =
      soon ? std::clamp(reading_.stay * 2, absl::Seconds(1), kMaxStay) : absl::ZeroDuration();
  LogWarning("capture",
             {{"state", "streaming->streaming_text"},
              {"slot", parts_.positions.names->slot()},
              {"lsn", ToString(end.decoded)}},
             reading_.why);
}

void Capture::ReadInBinary(const SessionEnd& end) {
  reading_changed_ = let_go_ = SteadyNow();
  reading_.as_text = false;
  LogInfo("capture", {{"state", "streaming_text->streaming"},
                      {"slot", parts_.positions.names->slot()},
                      {"lsn", ToString(end.decoded)}});
}

// Nothing is connected meanwhile: a walsender whose client does not read would keep the server from
// being shut down.
void Capture::Pause() {
  if (health_.Set(Health::Level::kCritical, CaptureState::kPaused,
                  "the change log has reached log_retention_bytes because a member has not "
                  "caught up; bring it back, or raise the limit")) {
    LogError("capture", {{"state", "streaming->paused"}},
             "the change log has reached log_retention_bytes");
  }
  let_go_ = SteadyNow();
  room_.Wait();
}

bool Capture::Passed(const SessionEnd& end, bool lasted, absl::Status* status) {
  if (!end.undecodable.has_value()) {
    if (lasted) reading_.streaming = true;
    skips_.End(*status);
    return false;
  }
  const absl::StatusOr<bool> passed = skips_.Pass(*end.undecodable);
  if (passed.ok()) return *passed;
  *status = passed.status();
  return false;
}

void Capture::ShowFailure(const absl::Status& status) {
  const bool may_heal = absl::IsUnavailable(status);
  if (health_.Set(may_heal ? Health::Level::kWarning : Health::Level::kCritical,
                  may_heal ? CaptureState::kConnecting : CaptureState::kStopped,
                  status.message())) {
    (may_heal ? LogWarning : LogError)(
        "capture", {{"state", "backoff"}, {"slot", parts_.positions.names->slot()}},
        status.message());
  }
}

}  // namespace bdr::agent
