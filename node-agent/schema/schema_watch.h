// Knows the shapes of this node's tables, tells them to the others, and what differs from theirs.
//
// Shapes travel by way of bdr-server: a report carries this node's until the answer names their
// hash, and the others' are fetched when their hash is a new one. While no server answers, what was
// last heard counts; of a node of which nothing was ever heard nothing is said.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "node-agent/changelog/database.h"
#include "node-agent/schema/unsettled.h"
#include "postgres/catalog.h"
#include "postgres/connection.h"

namespace bdr::v1 {
class NodeSchema;
class ReportResponse;
class Schema;
}  // namespace bdr::v1

namespace bdr::agent {

// Thread-safe. Owns one thread with one connection; looks at an idle server for next to nothing,
// and spends no more than a twentieth of the time on a busy one.
class SchemaWatch {
 public:
  struct Options {
    std::string conninfo;
    std::string node;              // this node's name
    Database* database = nullptr;  // outlives the watch
    // The newest stamp that was given out or applied here, µs since 1970. Null: stamps never run
    // ahead of the server's clock.
    std::function<int64_t()> newest_stamp_us = nullptr;
    // Called on the watch's thread once other shapes than before are known. Null: nothing is.
    std::function<void()> changed = nullptr;
  };
  struct Difference {
    std::string text;       // "table public.t: column c is numeric(5,1) here and numeric on eu1"
    std::string statement;  // mends it, if run here; empty: look at what it says
    absl::Time since;       // wall clock
  };

  // kDataLoss if what was written down is damaged.
  static absl::StatusOr<std::unique_ptr<SchemaWatch>> Start(Options options);
  ~SchemaWatch();
  SchemaWatch(const SchemaWatch&) = delete;
  SchemaWatch& operator=(const SchemaWatch&) = delete;

  // The tables' hash and shapes for a report: nothing before they were read.
  void FillReport(v1::NodeSchema* report) const;
  // Nodes in the answer to a report whose shapes are not known as the server has them.
  std::vector<std::string> Wanted(const v1::ReportResponse& response);
  void Take(const v1::NodeSchema& schema);

  // Differences that matter and have stood for a few seconds: tables are changed node after node,
  // and nobody wants to be warned of that.
  std::vector<Difference> Differences() const;

  // The generated columns of a table of another node, as far as is known.
  std::vector<std::string> GeneratedAt(NodeId node, absl::string_view schema,
                                       absl::string_view table) const;

  // Whether a claim with this stamp, by this constraint of a local table, may unseat a row of
  // another key (unsettled.h). If not, the message says why: kUnavailable if that may pass in
  // seconds.
  absl::Status Counts(const postgres::TableInfo& table, const postgres::ConstraintInfo& constraint,
                      int64_t stamp_us) const;

 private:
  struct Known {
    NodeId id = 0;
    std::string hash;
    std::shared_ptr<const v1::Schema> schema;  // null: nothing was heard, or it was damaged
    int64_t read_us = 0;                       // NodeSchema
  };

  explicit SchemaWatch(Options options) : options_(std::move(options)) {}

  void Run();
  absl::Status Look();
  // Both look anew at what has changed since they did last.
  absl::Status SettleConstraints();
  void Compare();

  const Options options_;
  // The thread's.
  std::unique_ptr<postgres::Connection> connection_;
  std::string snapshot_;
  std::string fingerprint_;
  absl::Time next_look_;  // steady
  std::string error_;
  // This node's tables when constraints were settled, and the others' had been heard of. As written
  // down: what was made while the agent was away, or before it had heard of the others, is new.
  std::shared_ptr<const v1::Schema> settled_;
  UnsettledConstraints kept_;  // as written down
  bool keep_again_ = false;    // that failed

  mutable Mutex mu_;
  CondVar woken_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool changed_ ABSL_GUARDED_BY(mu_) = false;
  Known own_ ABSL_GUARDED_BY(mu_);
  std::string packed_ ABSL_GUARDED_BY(mu_);
  bool told_ ABSL_GUARDED_BY(mu_) = false;   // the server has own_
  bool heard_ ABSL_GUARDED_BY(mu_) = false;  // others_ are all that the server knew of once
  std::map<std::string, Known> others_ ABSL_GUARDED_BY(mu_);
  struct Seen {
    absl::Time steady;
    absl::Time wall;
    std::string statement;
  };
  std::map<std::string, Seen> differences_ ABSL_GUARDED_BY(mu_);
  UnsettledConstraints unsettled_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const v1::Schema> counted_ ABSL_GUARDED_BY(mu_);  // settled_
  std::thread thread_;
};

}  // namespace bdr::agent
