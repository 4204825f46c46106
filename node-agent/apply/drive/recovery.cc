#include "node-agent/apply/drive/recovery.h"

#include <string>

#include "absl/strings/string_view.h"
#include "node-agent/apply/session/left_out.h"
#include "node-agent/apply/session/lock_waits.h"
#include "postgres/connection.h"

namespace bdr::agent {
namespace {

// unique_violation, exclusion_violation
bool IsCollision(const absl::Status& status) {
  const std::string sqlstate = postgres::Sqlstate(status);
  return sqlstate == "23505" || sqlstate == "23P01";
}

}  // namespace

Recovery::Step Recovery::After(const absl::Status& failed, size_t size) {
  if (IsLockTimeout(failed)) return Step::kWaitForLock;
  if (IsLeftOut(failed)) {
    if (size > 1 || ++left_out_ <= kMostCollisions) return Step::kLeftOut;
    return Step::kExplainLeftOut;
  }
  if (absl::IsAborted(failed)) return Step::kSmaller;
  return Otherwise(failed, size);
}

Recovery::Step Recovery::AfterExplanation(const absl::Status& explained, size_t size) {
  if (absl::IsAborted(explained) && left_out_ <= kMostLeftOut) return Step::kSmaller;
  return Otherwise(explained, size);
}

Recovery::Step Recovery::Otherwise(const absl::Status& failed, size_t size) {
  if (IsCollision(failed) && ++collisions_ <= kMostCollisions) return Step::kLookAgain;
  if (size == 1 && looked_again_) return Step::kGiveUp;
  looked_again_ = size == 1;
  return Step::kAlone;
}

void Recovery::Reset() {
  collisions_ = 0;
  left_out_ = 0;
  looked_again_ = false;
}

bool IsForGood(const absl::Status& failed) {
  const std::string sqlstate = postgres::Sqlstate(failed);
  if (sqlstate.empty()) {
    return absl::IsNotFound(failed) || absl::IsFailedPrecondition(failed) ||
           absl::IsInvalidArgument(failed);
  }
  constexpr absl::string_view kInsufficientPrivilege = "42501";
  if (sqlstate == kInsufficientPrivilege) return false;
  const absl::string_view klass = absl::string_view(sqlstate).substr(0, 2);
  return klass == "42" || klass == "22" || klass == "23";
}

}  // namespace bdr::agent
