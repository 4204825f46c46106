#include "tests/chaos/drawers.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "tests/chaos/client.h"

namespace bdr::chaos {
namespace {

constexpr int kDrawersOfNode = 2;
constexpr uint64_t kDrawerStream = 10000;

// In microseconds since 1970. Of the server, so that a crash tells two lives apart.
constexpr char kLife[] = "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint";
// Nobody waits for long while bdr-server or the agent is down.
constexpr char kTimeout[] = "SET bdr.sequence_timeout = '700ms'; ";

int64_t Value(const postgres::Result& result, int row, int column) {
  int64_t value = 0;
  (void)absl::SimpleAtoi(result.value(row, column), &value);
  return value;
}

bool GallocAlone(const SequenceSpec& sequence) {
  return sequence.methods.size() == 1 && sequence.methods.front() == "galloc";
}

bool Gapless(const SequenceSpec& sequence) { return sequence.methods.front() == "gapless"; }

int64_t LastOf(const std::string& type) {
  return type == "smallint"  ? std::numeric_limits<int16_t>::max()
         : type == "integer" ? std::numeric_limits<int32_t>::max()
                             : std::numeric_limits<int64_t>::max();
}

// What somebody who draws must expect while things fail, or the sequence is being converted. Never
// that a key is there already.
bool IsExpectedOf(const SequenceSpec& sequence, const absl::Status& status) {
  if (IsExpected(status) && !IsRefused(status)) return true;
  const std::string state = postgres::Sqlstate(status);
  if (state == "55000") {
    return absl::StrContains(status.message(), "no ids are left") ||
           absl::StrContains(status.message(), "is being converted to another method") ||
           absl::StrContains(status.message(), "are being changed") ||
           absl::StrContains(status.message(), "did not come to this node");
  }
  // An identity column's sequence makes way for another of its name when it gets a method with a
  // default. Whoever had looked up the name himself meets what DROP SEQUENCE does to him anyhow.
  if (state == "XX000" && !sequence.identity.empty() &&
      !absl::StrContains(status.message(), "INSERT INTO")) {
    return absl::StrContains(status.message(), "could not open relation with OID");
  }
  // PostgreSQL's own word for it, where the sequence itself has a limit meanwhile.
  return state == "2200H" && sequence.methods.size() > 1;
}

std::string Describe(const harness::Cluster& cluster, const DrawnId& drawn) {
  return absl::StrCat(
      "statement ", drawn.statement, " on ", cluster.names()[static_cast<size_t>(drawn.node)],
      drawn.committed ? ", committed" : ", not surely committed", ", server of ", drawn.life);
}

// See the top of drawers.h.
bool MayComeAgain(const SequenceSpec& sequence, const DrawnId& one, const DrawnId& other) {
  // It is a rollback that brings it back.
  if (Gapless(sequence)) return !one.committed || !other.committed;
  if (GallocAlone(sequence) || one.node != other.node || one.life == other.life) return false;
  return !(one.life < other.life ? one : other).committed;
}

// `rows` have the id first.
void CheckNoGap(const SequenceSpec& sequence, const postgres::Result& rows, Findings* findings) {
  std::vector<int64_t> ids;
  for (int row = 0; row < rows.rows(); ++row) ids.push_back(Value(rows, row, 0));
  std::sort(ids.begin(), ids.end());
  for (size_t i = 1; i < ids.size(); ++i) {
    if (ids[i] == ids[i - 1] + 1) continue;
    findings->Add(
        absl::StrCat("a gap in ", sequence.table, ": after ", ids[i - 1], " comes ", ids[i]));
  }
}

}  // namespace

int64_t DrawnIds::count() const {
  MutexLock lock(&mu_);
  int64_t count = 0;
  for (const auto& ids : of_) count += static_cast<int64_t>(ids.size());
  return count;
}

// One session of one node.
class Drawers::User {
 public:
  User(const Plan& plan, int node, Random random, Client client, DrawnIds* ids, Findings* findings)
      : plan_(plan),
        node_(node),
        random_(std::move(random)),
        client_(std::move(client)),
        ids_(ids),
        findings_(findings),
        newest_(plan.sequences.size(), 0) {}

  void Run(const std::atomic<bool>& stop) {
    while (!stop && client_.Get() != nullptr) {
      const auto many = static_cast<int64_t>(plan_.sequences.size());
      at_ = static_cast<size_t>(random_.Below(many));
      // A type's numbers are few.
      if (sequence().most_rows == 1 && !random_.OneIn(4)) at_ = 0;
      const absl::Status status = OneTransaction();
      if (!status.ok() && !IsExpectedOf(sequence(), status)) {
        findings_->Add(absl::StrCat("who drew from ", sequence().name(), " on ", client_.node(),
                                    " met ", status.ToString()));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(random_.Below(80)));  // He thinks.
    }
  }

 private:
  const SequenceSpec& sequence() const { return plan_.sequences[at_]; }

  absl::Status OneTransaction() {
    drawn_.clear();
    const bool block = random_.OneIn(3);
    const std::string level =
        random_.Pick<std::string>({"READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"});
    const bool give_up = random_.OneIn(5);
    absl::Status status;
    if (!block) {
      status = OneStatement();
      Keep(status.ok());
      return status;
    }
    status = client_.Exec(absl::StrCat("BEGIN ISOLATION LEVEL ", level)).status();
    for (int64_t i = random_.Between(1, 4); i > 0 && status.ok(); --i) {
      const bool savepoint = random_.OneIn(4);
      if (savepoint) status = client_.Exec("SAVEPOINT s").status();
      const size_t before = drawn_.size();
      if (status.ok()) status = OneStatement();
      if (savepoint && status.ok() && random_.OneIn(2)) {
        status = client_.Exec("ROLLBACK TO s").status();
        for (size_t row = before; row < drawn_.size(); ++row) drawn_[row].row = false;
      }
    }
    if (status.ok() && !give_up) {
      status = client_.Exec("COMMIT").status();
      Keep(status.ok());
      return status;
    }
    client_.Exec("ROLLBACK").IgnoreError();
    Keep(/*committed=*/false);
    return status;
  }

  // Adds what it was told to drawn_.
  absl::Status OneStatement() {
    const int64_t statement = ids_->TakeStatement();
    const int64_t rows = sequence().most_rows < 10 ? random_.Between(1, sequence().most_rows)
                         : random_.OneIn(8)        ? random_.Between(10, sequence().most_rows)
                                                   : random_.Between(1, 4);
    const int64_t form = random_.Below(8);
    // A session that calls the method itself, and inserts nothing.
    const bool bare = form < 2 && !Gapless(sequence());
    const std::string sql =
        bare && form == 0 ? absl::StrCat("SELECT bdr.nextval('", sequence().name(), "'), ", kLife)
        : bare ? absl::StrCat("SELECT id, ", kLife, " FROM bdr.reserve('", sequence().name(), "', ",
                              rows, ") AS id")
               : absl::StrCat("INSERT INTO ", sequence().table, " (node, statement, life) SELECT ",
                              node_, ", ", statement, ", ", kLife, " FROM generate_series(1, ",
                              rows, ") RETURNING id, life");
    ASSIGN_OR_RETURN(const postgres::Result told, client_.Exec(kTimeout + sql));
    for (int i = 0; i < told.rows(); ++i) {
      drawn_.push_back({.id = Value(told, i, 0),
                        .statement = statement,
                        .life = Value(told, i, 1),
                        .node = node_,
                        .row = !bare,
                        .committed = false});
      CheckRises(drawn_.back().id);
    }
    return absl::OkStatus();
  }

  // What one session gets of galloc's chunks rises, whatever crashed in between.
  void CheckRises(int64_t id) {
    if (!GallocAlone(sequence())) return;
    if (id <= newest_[at_]) {
      findings_->Add(absl::StrCat("a session of ", client_.node(), " got ", id, " of ",
                                  sequence().name(), " after ", newest_[at_]));
    }
    newest_[at_] = id;
  }

  void Keep(bool committed) {
    // What wrote nothing may have been committed without anything flushed.
    for (DrawnId& drawn : drawn_) drawn.committed = committed && drawn.row;
    ids_->Add(at_, drawn_);
  }

  const Plan& plan_;
  const int node_;
  Random random_;
  Client client_;
  DrawnIds* const ids_;
  Findings* const findings_;
  std::vector<int64_t> newest_;  // by sequence
  size_t at_ = 0;                // the sequence that is drawn from
  std::vector<DrawnId> drawn_;   // in this transaction
};

Drawers::Drawers(const Plan& plan, const harness::Cluster* cluster, DrawnIds* ids,
                 Findings* findings) {
  if (plan.sequences.empty()) return;
  const std::vector<std::string> names = cluster->names();
  for (int node = 0; node < plan.nodes; ++node) {
    for (int i = 0; i < kDrawersOfNode; ++i) {
      const uint64_t stream =
          kDrawerStream + static_cast<uint64_t>(node) * 100 + static_cast<uint64_t>(i);
      threads_.emplace_back([this, &plan, cluster, ids, findings, node, stream,
                             name = names[static_cast<size_t>(node)]] {
        User(plan, node, Random(plan.options.seed, stream), Client(cluster, name, &stop_), ids,
             findings)
            .Run(stop_);
      });
    }
  }
}

void Drawers::Stop() {
  stop_ = true;
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

absl::Status CheckSequences(const Plan& plan, const harness::Cluster& cluster, const DrawnIds& ids,
                            Findings* findings) {
  for (size_t i = 0; i < plan.sequences.size(); ++i) {
    const SequenceSpec& sequence = plan.sequences[i];
    std::vector<DrawnId> drawn = ids.Of(i);
    ASSIGN_OR_RETURN(const auto connection, cluster.Connect(cluster.names().front()));
    ASSIGN_OR_RETURN(
        const postgres::Result rows,
        connection->Exec(absl::StrCat("SELECT id, node, statement, life FROM ", sequence.table)));
    absl::flat_hash_map<int64_t, int64_t> statements;  // by id, of rows
    for (int row = 0; row < rows.rows(); ++row) {
      statements[Value(rows, row, 0)] = Value(rows, row, 2);
    }
    // Whoever was told of it will be told of by the rows that are left over.
    for (DrawnId& told : drawn) {
      if (!told.row) continue;
      const auto row = statements.find(told.id);
      if (row != statements.end() && row->second == told.statement) {
        told.committed = true;
        statements.erase(row);
      } else if (told.committed) {
        findings->Add(absl::StrCat("acknowledged and lost: row ", told.id, " of ", sequence.table,
                                   " (", Describe(cluster, told), ")"));
      }
    }
    for (int row = 0; row < rows.rows(); ++row) {
      const int64_t id = Value(rows, row, 0);
      if (!statements.contains(id)) continue;
      drawn.push_back({.id = id,
                       .statement = Value(rows, row, 2),
                       .life = Value(rows, row, 3),
                       .node = static_cast<int>(Value(rows, row, 1)),
                       .row = true,
                       .committed = true});
    }
    std::sort(drawn.begin(), drawn.end(),
              [](const DrawnId& a, const DrawnId& b) { return a.id < b.id; });
    for (size_t k = 0; k < drawn.size(); ++k) {
      if (drawn[k].id < 1 || drawn[k].id > LastOf(sequence.type)) {
        findings->Add(absl::StrCat(sequence.name(), " gave out ", drawn[k].id, ", which no ",
                                   sequence.type, " sequence has (", Describe(cluster, drawn[k]),
                                   ")"));
      }
      for (size_t other = k + 1; other < drawn.size() && drawn[other].id == drawn[k].id; ++other) {
        if (MayComeAgain(sequence, drawn[k], drawn[other])) continue;
        findings->Add(absl::StrCat("given out twice: ", drawn[k].id, " of ", sequence.name(), " (",
                                   Describe(cluster, drawn[k]), "; ",
                                   Describe(cluster, drawn[other]), ")"));
      }
    }
    if (Gapless(sequence)) CheckNoGap(sequence, rows, findings);
    // Rows with one key that different nodes inserted.
    for (const std::string& node : cluster.names()) {
      ASSIGN_OR_RETURN(const std::string conflicts,
                       cluster.QueryValue(node, absl::StrCat("SELECT count(*) FROM bdr.conflict_log"
                                                             " WHERE relation = 'public.",
                                                             sequence.table, "'")));
      if (conflicts == "0") continue;
      findings->Add(absl::StrCat("the conflict log of ", node, " has ", conflicts, " entries of ",
                                 sequence.table));
    }
  }
  return absl::OkStatus();
}

}  // namespace bdr::chaos
