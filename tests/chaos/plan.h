// What a seed decides before a run begins: how many nodes, which tables, what users do to them, and
// what goes wrong meanwhile.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "tests/chaos/random.h"

namespace bdr::chaos {

// A column that carries a value and nothing else.
struct ValueColumn {
  std::string name;
  std::string type;
  // Of type "reference": what is referenced, of a number that is written $, and how many there are.
  std::string referenced = {};
  int64_t numbers = 0;
  std::string RandomValue(Random& random) const;  // a literal, or an expression
};

enum class TableKind {
  kPlain,
  kUnique,   // there are further unique indexes, or exclusion constraints
  kFolded,   // it has a policy, see policies.h
  kCounter,  // it has policy delta, and rows that are there for ever
  kLog,      // it has no key: users only add to it, and empty it
  kParent,   // the table after it references it
  kChild,
};

// What follows the table in `bdrctl table set-policy`.
using Policy = std::vector<std::string>;

// A table that everybody fights over. Beside its key and values each row holds `w`, the number of
// the write that made it, unique in the run, and `prev`, the number of the write that this one saw.
struct TableSpec {
  std::string name;
  std::string ddl;
  std::vector<std::string> key;  // columns
  std::vector<std::string> key_types;
  // Of a number that is written $: what is written, and what finds it again.
  std::string key_expression;
  std::string key_lookup;
  std::vector<ValueColumn> values;
  // Each key has a number. The first `hot_keys` are fought over; from kBulkKeys on lies what bulk
  // writes touch.
  int hot_keys = 6;
  TableKind kind = TableKind::kPlain;
  // A column whose values rows may exchange within a statement or transaction: a deferrable
  // constraint holds them apart. Empty: there is none.
  std::string exchanged;
  std::vector<Policy> policies;  // the first is set before users come
  // Rows go with those that they reference, and nobody is told.
  bool cascades = false;
  // What was written last is what stands, unless it is logged.
  bool last_update_wins() const { return policies.empty(); }
  std::string KeyExpression(const std::string& number) const;  // comma-separated, of SQL
  std::string KeyColumns() const;
  std::string KeyCondition(int64_t number) const;  // true for every row, if there is no key
  std::string KeyOf(int64_t number) const;         // always in the same form
};
inline constexpr int64_t kBulkKeys = 1000;

// A table whose keys come from a sequence that all nodes share. Beside the key a row holds `node`
// and `statement`, by whom and in which it was inserted, and `life`, since when the server runs
// that gave out its key.
struct SequenceSpec {
  std::string table;
  std::string type;           // of column `id`
  std::string identity = {};  // ALWAYS, BY DEFAULT; empty: a default that calls nextval()
  // The first one before users come; the others, if there are, while they draw.
  std::vector<std::string> methods;
  int most_rows = 60;  // of one statement
  std::string name() const { return "public." + table + "_id_seq"; }
};

enum class FaultKind {
  kPartition,
  kIsolate,
  kOneWayLoss,
  kDelay,
  kStall,
  kReset,
  kBandwidth,
  kAgentKill,
  kAgentPause,
  kAgentFailPoint,
  kAgentMachineCrash,
  kPostgresKill,
  kPostgresPause,
  kServerKill,
  kServerPause,
  kBackendsKill,
  kDiskFull,
  kClockStep,
  kClockRate,
  kFreeze,
  kCheckpoints,
  kRowLocks,
  kOpenWriter,
  kRewrite,
};
absl::string_view ToString(FaultKind kind);

enum class Operation {
  kUpsert,
  kUpdate,
  kInsert,
  kDelete,
  kKeyChange,
  kExchange,
  kTruncate,
  kRefill,  // a truncate, and rows behind it in the same transaction
  kBulkUpsert,
  kBulkDelete,
};

// A kind of run: what happens how often. The weights are relative.
struct Profile {
  std::string name;
  std::string about;
  int nodes = 0;  // 0: the seed decides
  std::map<FaultKind, int> faults;
  std::map<Operation, int> operations;
  std::map<TableKind, int> kinds;  // of tables
  int hot_keys = 0;                // 0: the seed decides
  int workers = 0;                 // of each node; 0: the seed decides
  int tables = 0;
  bool clocks = false;      // nodes have clocks of their own
  bool namespaces = false;  // nodes are in networks of their own, where that is allowed
  bool sequences = false;   // there are tables with keys from sequences, see sequences.h
  std::string habits = {};  // BDR_STRESS of the agents
  absl::Duration fault_max = absl::Seconds(3);
};
const std::vector<Profile>& Profiles();
// kNotFound with the names that there are.
absl::StatusOr<Profile> FindProfile(absl::string_view name);

struct Options {
  uint64_t seed = 1;
  int seconds = 30;  // of load and faults, without start and checks
  int nodes = 0;     // 0: the profile, or the seed, decides
  std::string profile = "everything";
  std::string broken;  // rules of base/test_hooks.h that the agents break
  bool keep = false;   // the folder, also where nothing went wrong
  bool verbose = false;
  bool own_network = false;  // this process may make network namespaces, and is in one of its own
};

struct Plan {
  Options options;
  Profile profile;
  int nodes = 2;
  int workers = 2;  // of each node
  std::vector<TableSpec> tables;
  std::vector<SequenceSpec> sequences;
  std::string agent_config;
  bool machine_crash = false;
  bool small_disks = false;
  // On each node a session with an open transaction that has written and reads, all the time.
  bool standing_transactions = false;
  bool switch_policies = false;  // while users write
};
absl::StatusOr<Plan> MakePlan(const Options& options);

}  // namespace bdr::chaos
