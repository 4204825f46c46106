// What bdr.conflict_log says of a conflict in single words: which it is, who won, what decided.
//
// These are all there are: whoever writes a line takes its words from here (bdr::agent's
// ConflictLog), whoever reads one compares with them. docs/architecture.md explains each;
// conflict_kind_test.cc holds the two together. What has been released keeps its word.
#pragma once

#include "absl/strings/string_view.h"

namespace bdr::conflict {

// As PostgreSQL 18 names them in pg_stat_subscription_stats, as far as it has them.
enum class ConflictKind {
  kNone,
  kInsertExists,
  kUpdateOriginDiffers,
  kUpdateMissing,
  kUpdateDeleted,
  kInsertDeleted,
  kDeleteOriginDiffers,
  kDeleteMissing,
  // A truncate met rows that its origin had not seen: the older died, the newer stay.
  kTruncateOriginDiffers,
  // Another row has claimed one of its unique values later, see claim_rule.h.
  kUniqueClaimed,
  // An update left large values alone, and no member has them any more.
  kLargeValueUnavailable,
  // What an administrator has said is gone was written elsewhere before that: it is left out.
  kColumnMissing,
  kTableMissing,
  // The function of a custom policy raised: the change counts as not made.
  kMergeFunctionFailed,
  // A row references one that is gone.
  kForeignKeyOrphaned,
};

inline constexpr ConflictKind kConflictKinds[] = {
    ConflictKind::kInsertExists,        ConflictKind::kUpdateOriginDiffers,
    ConflictKind::kUpdateMissing,       ConflictKind::kUpdateDeleted,
    ConflictKind::kInsertDeleted,       ConflictKind::kDeleteOriginDiffers,
    ConflictKind::kDeleteMissing,       ConflictKind::kTruncateOriginDiffers,
    ConflictKind::kUniqueClaimed,       ConflictKind::kLargeValueUnavailable,
    ConflictKind::kColumnMissing,       ConflictKind::kTableMissing,
    ConflictKind::kMergeFunctionFailed, ConflictKind::kForeignKeyOrphaned,
};

absl::string_view ToString(ConflictKind kind);

// What decided.
enum class Rule {
  kNone,            // nothing is told
  kNewerKnown,      // the store had a newer version before anything was sent
  kNewerCaptured,   // a newer local commit was captured before the decision
  kOlderKnown,      // the row found is older by the store
  kOlderByTime,     // a local row that is not captured yet is older by its commit time
  kUnknownIsOlder,  // the store does not know the row: it is older than all that can arrive
  kNothingStands,
  kNobodyHasValues,  // which the change had left alone
  kClaimedLater,     // another row has claimed one of its unique values
  kFolded,           // nothing is lost: the table's policy merged both
  kOlderThanTruncate,
  kForeignKey,
  // These two stand in the log in words and not by name: what the function raised, and what the
  // administrator has said of the column or table.
  kFunctionRaised,
  kSaidToBeGone,
};

inline constexpr Rule kRules[] = {
    Rule::kNewerKnown,     Rule::kNewerCaptured,     Rule::kOlderKnown,      Rule::kOlderByTime,
    Rule::kUnknownIsOlder, Rule::kNothingStands,     Rule::kNobodyHasValues, Rule::kClaimedLater,
    Rule::kFolded,         Rule::kOlderThanTruncate, Rule::kForeignKey,      Rule::kFunctionRaised,
    Rule::kSaidToBeGone,
};

// "" for kNone and where IsInWords().
absl::string_view ToString(Rule rule);
bool IsInWords(Rule rule);

enum class Winner { kLocal, kRemote, kMerged };

inline constexpr Winner kWinners[] = {Winner::kLocal, Winner::kRemote, Winner::kMerged};

absl::string_view ToString(Winner winner);

}  // namespace bdr::conflict
