// What the parts of the model share: rows, changes, transactions, and how a schedule is drawn.
//
// There is one table with a few keys. Constraints beside the key are switched on by schedule:
// UNIQUE (u), UNIQUE (w) WHERE active, UNIQUE (an expression of both), EXCLUDE (a range).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "conflict/stamp.h"
#include "node-agent/changelog/block.h"
#include "tests/model/rules.h"

namespace bdr::model {

using conflict::Stamp;

inline constexpr int kMaxNodes = 4;
inline constexpr int kMaxKeys = 3;
inline constexpr int kValues = 3;
inline constexpr int kNone = -1;  // a NULL

// Constraints, as bits of Setup::constraints.
inline constexpr int kUniqueU = 1;
inline constexpr int kPartialW = 2;
inline constexpr int kExpression = 4;
inline constexpr int kExclusion = 8;
inline constexpr int kUniques = 3;  // those that compare by equality
inline constexpr int kExpressionValues = 2 * kValues;

struct Content {
  int8_t u = kNone;
  int8_t w = kNone;
  bool active = false;
  int8_t from = kNone;  // the range [from, to]; none if from is NULL
  int8_t to = kNone;
  int16_t note = 0;  // another one in every version

  friend bool operator==(const Content&, const Content&) = default;
};

// The value that a row claims under a unique constraint (0..2, by bit); kNone if it claims none.
inline int ClaimedValue(const Content& row, int constraint) {
  switch (constraint) {
    case 0:
      return row.u;
    case 1:
      return row.active ? row.w : kNone;
    default:  // UNIQUE (u / 2 + w) or so: of two columns, null if one is
      return row.u == kNone || row.w == kNone ? kNone : row.u / 2 + row.w;
  }
}

inline bool Overlap(const Content& a, const Content& b) {
  return a.from != kNone && b.from != kNone && a.from <= b.to && b.from <= a.to;
}

// Whether two rows of different keys may not stand side by side.
inline bool Conflicting(const Content& a, const Content& b, int constraints) {
  for (int c = 0; c < kUniques; ++c) {
    if ((constraints & (1 << c)) == 0) continue;
    const int value = ClaimedValue(a, c);
    if (value != kNone && value == ClaimedValue(b, c)) return true;
  }
  return (constraints & kExclusion) != 0 && Overlap(a, b);
}

enum class Kind : uint8_t { kInsert, kUpdate, kDelete, kTruncate };

struct Change {
  Kind kind = Kind::kInsert;
  int key = 0;
  Content row;  // of an insert or update

  bool writes() const { return kind == Kind::kInsert || kind == Kind::kUpdate; }
};

// As captured: the same for every node. Lives as long as the schedule.
struct Transaction {
  int node = 0;    // index of the origin
  int number = 0;  // among the origin's
  int64_t commit_us = 0;
  Lsn commit_lsn;
  Lsn end_lsn;
  std::vector<Change> changes;
  // The truth, which no agent knows: how many of each origin's transactions were visible when this
  // one committed.
  std::array<int, kMaxNodes> saw{};
  // Filled by capture.
  agent::TransactionHeader header;

  // Whether the transaction itself wrote or took away what this change left.
  bool Superseded(size_t change) const;
  // Whether a row need not have been there before its first change of this key.
  bool Whole(size_t change) const;
};

struct Setup {
  uint64_t seed = 0;
  Rule broken = Rule::kNone;
  int steps = 0;  // 0: drawn from the seed
  bool trace = false;
};

std::string Describe(const Change& change, int constraints);
std::string Describe(const Content& row, int constraints);

inline NodeId IdOf(int node) { return static_cast<NodeId>(node + 1); }
inline OriginId OriginOf(int node) { return {.node = IdOf(node), .incarnation = 1}; }

}  // namespace bdr::model
