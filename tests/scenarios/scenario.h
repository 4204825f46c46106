// A scenario: nodes, what is done to them in which order, and what must hold then.
// docs/scenarios.md has the text form; parse.h reads it, play.h plays it on real servers.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/time.h"

namespace bdr::scenarios {

// Each of these is sent by itself, so what is to be one transaction of several has its BEGIN and
// COMMIT. "{node}" in it stands for the node's name.
struct RunSql {
  std::vector<std::string> nodes;
  std::string session;  // of a user who keeps it open; empty: a new one each time
  std::vector<std::string> statements;
};

// PostgreSQL refuses it with an error that contains the text.
struct Refused {
  std::vector<std::string> nodes;
  std::string sql;
  std::string text;
};

// What a query gives: rows as texts, with " | " between columns and "null" for NULL.
struct Look {
  std::vector<std::string> nodes;
  bool wait = false;  // until it does; else it must at once
  int times = 1;      // it must so often in a row
  std::string sql;
  std::vector<std::string> rows;
};

// All nodes are equal once nothing is under way.
struct Converge {};
// `bdrctl status` finds nothing wrong.
struct Healthy {};
// All faults of links end.
struct Heal {};

// What goes from one node to another.
struct Link {
  enum class Fault { kNone, kCut, kStall };
  Fault fault = Fault::kNone;
  std::vector<std::pair<std::string, std::string>> ways;  // from, to
};

// Capture of a node stands still while it is held; all else goes on.
struct HoldCapture {
  std::string node;
  bool hold = true;
};

struct Agent {
  enum class Deed { kStop, kKill, kPause, kResume, kStart, kDies };
  Deed deed = Deed::kStop;
  std::string node;
  std::string fail_point;  // of kStart; empty: none
};

struct SetClock {
  std::string node;
  absl::Duration ahead;
};

struct Bdrctl {
  bool wait = false;  // until it ends and says so
  std::vector<std::string> arguments;
  std::optional<int> exit_code;   // empty: whatever it is
  std::vector<std::string> says;  // texts in what it prints
};

// An entry that the conflict log has, or that it has nothing.
struct Logged {
  struct Field {
    std::string column;  // of bdr.conflict_log; "key.id": a field of one that is jsonb
    std::string value;
  };
  std::vector<std::string> nodes;
  bool nothing = false;
  std::string kind;
  std::string relation;
  std::vector<Field> fields;
  std::vector<std::string> present;  // columns that are not NULL
  std::vector<std::string> absent;   // columns that are
  std::string older;                 // "local" or "remote"
  std::optional<int> count;          // so many; else at least one
};

struct Metric {
  std::string node;
  std::string name;
  std::vector<std::pair<std::string, std::string>> labels;
  std::string comparison;  // one of >= <= =
  double value = 0;
};

// Capture of the node has passed what is in its WAL now, and that is durable.
struct Captured {
  std::string node;
};
// `to` has received all that `from` has written until now.
struct Received {
  std::string from;
  std::string to;
};

using Action = std::variant<RunSql, Refused, Look, Converge, Healthy, Heal, Link, HoldCapture,
                            Agent, SetClock, Bdrctl, Logged, Metric, Captured, Received>;

struct Step {
  int line = 0;      // where it begins
  std::string text;  // that line
  Action action;
};

struct Scenario {
  std::string file;
  int nodes = 2;
  bool own_clocks = false;   // every node goes by a clock of its own
  std::string agent_config;  // more lines of every agent.yaml
  std::string tables;        // SQL, run on every node before it joins
  bool needs_hooks = false;  // runs only in a build with BDR_TEST_HOOKS
  std::vector<Step> steps;
};

}  // namespace bdr::scenarios
