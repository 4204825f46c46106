#include "node-agent/schema/schema_watch.h"

#include <rocksdb/write_batch.h>

#include <algorithm>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/thread_name.h"
#include "bdr/v1/control.pb.h"
#include "bdr/v1/schema.pb.h"
#include "node-agent/changelog/state.h"
#include "postgres/shapes/packed_schema.h"
#include "postgres/shapes/read_schema.h"
#include "postgres/shapes/schema_diff.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kInterval = absl::Seconds(2);
constexpr absl::Duration kLongestInterval = absl::Seconds(30);
// A look that takes a second is followed by a pause of twenty.
constexpr int kPauses = 20;
constexpr absl::Duration kStanding = absl::Seconds(3);
// gRPC takes no message beyond 4 MiB, and a report holds more than this.
constexpr size_t kMaxPackedBytes = 3u << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<SchemaWatch>> SchemaWatch::Start(Options options) {
  ASSIGN_OR_RETURN(const auto kept, State(options.database).Get(kStateUnsettled));
  ASSIGN_OR_RETURN(const auto settled, State(options.database).Get(kStateSettled));
  std::unique_ptr<SchemaWatch> watch(new SchemaWatch(std::move(options)));
  if (kept.has_value()) {
    ASSIGN_OR_RETURN(UnsettledConstraints unsettled, ParseUnsettled(*kept));
    watch->kept_ = unsettled;
    MutexLock lock(&watch->mu_);
    watch->unsettled_ = std::move(unsettled);
  }
  if (settled.has_value()) {
    auto schema = std::make_shared<v1::Schema>();
    if (!schema->ParseFromString(*settled)) {
      return absl::DataLossError("what is known of this node's tables from before is damaged");
    }
    watch->settled_ = schema;
    MutexLock lock(&watch->mu_);
    watch->counted_ = std::move(schema);
  }
  watch->thread_ = std::thread([raw = watch.get()] {
    NameThread("bdr-schema");
    raw->Run();
  });
  return watch;
}

SchemaWatch::~SchemaWatch() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    woken_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void SchemaWatch::Run() {
  while (true) {
    if (SteadyNow() >= next_look_) {
      const absl::Time begun = SteadyNow();
      const absl::Status status = Look();
      next_look_ =
          SteadyNow() + std::clamp((SteadyNow() - begun) * kPauses, kInterval, kLongestInterval);
      if (status.message() != error_) {
        error_ = std::string(status.message());
        if (status.ok()) {
          LogInfo("schema", {{"node", options_.node}, {"state", "connected"}});
        } else {
          LogWarning("schema", {{"node", options_.node}}, error_);
        }
      }
      if (!status.ok() && !absl::IsResourceExhausted(status)) {
        connection_.reset();
        snapshot_.clear();
      }
    }
    bool changed = false;
    {
      MutexLock lock(&mu_);
      while (!stopping_ && !changed_ && SteadyNow() < next_look_) {
        woken_.WaitFor(&mu_, next_look_ - SteadyNow());
      }
      if (stopping_) return;
      std::swap(changed, changed_);
    }
    if (!changed && !keep_again_) continue;
    const absl::Status settled = SettleConstraints();
    if (!settled.ok() && !keep_again_) {
      LogWarning("schema", {{"node", options_.node}}, settled.message());
    }
    keep_again_ = !settled.ok();
    if (changed) Compare();
  }
}

// The cheap questions come first: whether any transaction has ended since the last look, then
// whether the catalog's fingerprint has changed, and only then are all shapes read. The snapshot is
// taken before what it stands for is read, and kept after, so a change in between is seen by the
// next look. The clock is read after the shapes: what was written before they were so is stamped
// earlier than that.
absl::Status SchemaWatch::Look() {
  if (connection_ == nullptr) {
    ASSIGN_OR_RETURN(connection_,
                     postgres::Connection::Connect(
                         {.conninfo = options_.conninfo, .application_name = "bdr schema"}));
    // What is read of a table takes a lock on it, for which users' ALTER TABLE may let one wait.
    RETURN_IF_ERROR(connection_->Exec("SET lock_timeout = '1s'").status());
  }
  // Taken before what follows: what ends later is seen by the next look.
  ASSIGN_OR_RETURN(std::string snapshot, postgres::PresentSnapshot(*connection_));
  if (snapshot == snapshot_) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::string fingerprint, postgres::CatalogFingerprint(*connection_));
  if (fingerprint != fingerprint_) {
    auto schema = std::make_shared<v1::Schema>();
    RETURN_IF_ERROR(postgres::ReadSchema(*connection_, schema.get()));
    ASSIGN_OR_RETURN(
        const std::string clock,
        connection_->QueryValue("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8"));
    int64_t read_us = 0;
    if (!absl::SimpleAtoi(clock, &read_us)) {
      return absl::InternalError("the server's clock is no number");
    }
    if (options_.newest_stamp_us != nullptr) {
      read_us = std::max(read_us, options_.newest_stamp_us());
    }
    postgres::PackedSchema packed = postgres::PackSchema(*schema);
    fingerprint_ = std::move(fingerprint);
    MutexLock lock(&mu_);
    if (own_.hash != packed.hash) {
      own_ = {.hash = std::move(packed.hash), .schema = schema, .read_us = read_us};
      packed_ = packed.bytes.size() > kMaxPackedBytes ? "" : std::move(packed.bytes);
      told_ = false;
      changed_ = true;
    }
  }
  snapshot_ = std::move(snapshot);
  MutexLock lock(&mu_);
  if (!own_.hash.empty() && packed_.empty()) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the shapes of ", own_.schema->tables_size(),
        " tables are too large to tell the other nodes, so differences are not noticed"));
  }
  return absl::OkStatus();
}

void SchemaWatch::FillReport(v1::NodeSchema* report) const {
  MutexLock lock(&mu_);
  if (own_.hash.empty() || packed_.empty()) return;
  report->set_hash(own_.hash);
  report->set_read_us(own_.read_us);
  if (!told_) report->set_packed(packed_);
}

std::vector<std::string> SchemaWatch::Wanted(const v1::ReportResponse& response) {
  std::map<std::string, std::string> told;
  for (const v1::NodeSchema& schema : response.schemas()) told[schema.node()] = schema.hash();
  std::vector<std::string> wanted;
  std::set<std::string> members;
  MutexLock lock(&mu_);
  const auto own = told.find(options_.node);
  told_ = own != told.end() && own->second == own_.hash;
  for (const v1::Member& member : response.membership().members()) {
    if (member.name() == options_.node) continue;
    members.insert(member.name());
    Known& known = others_[member.name()];
    known.id = static_cast<NodeId>(member.node_id());
    const auto hash = told.find(member.name());
    if (hash != told.end() && hash->second != known.hash) wanted.push_back(member.name());
  }
  const size_t gone = std::erase_if(
      others_, [&members](const auto& other) { return !members.contains(other.first); });
  const bool heard = wanted.empty() && !std::exchange(heard_, heard_ || wanted.empty());
  if (gone > 0 || heard) {
    changed_ = true;
    woken_.NotifyAll();
  }
  return wanted;
}

void SchemaWatch::Take(const v1::NodeSchema& schema) {
  auto shapes = std::make_shared<v1::Schema>();
  const absl::Status unpacked = postgres::UnpackSchema(schema.packed(), shapes.get());
  if (!unpacked.ok()) {
    LogWarning("schema", {{"node", options_.node}, {"of", schema.node()}}, unpacked.message());
    shapes = nullptr;
  }
  MutexLock lock(&mu_);
  Known& known = others_[schema.node()];
  known.hash = schema.hash();
  known.schema = std::move(shapes);
  known.read_us = schema.read_us();
  changed_ = true;
  woken_.NotifyAll();
}

// The decision (Settle()) is made on a copy, without the lock. What it says counts at once, before
// it is written down: appliers that went on by the old answer could unseat rows. The agent's own
// log of it (kept_, settled_) follows only once both are durable, so that a failed write is tried
// again.
absl::Status SchemaWatch::SettleConstraints() {
  Known own;
  std::map<std::string, Known> others;
  UnsettledConstraints before;
  bool heard = false;
  {
    MutexLock lock(&mu_);
    heard = heard_;
    own = own_;
    others = others_;
    before = unsettled_;
  }
  if (own.schema == nullptr) return absl::OkStatus();
  std::vector<KnownSchema> known;
  for (const auto& [node, other] : others) {
    if (other.schema == nullptr) continue;
    known.push_back({.node = node, .schema = other.schema.get(), .read_us = other.read_us});
  }
  UnsettledConstraints now =
      Settle(before, settled_.get(),
             {.node = options_.node, .schema = own.schema.get(), .read_us = own.read_us}, known,
             !others.empty() && known.size() == others.size());
  rocksdb::WriteBatch batch;
  std::shared_ptr<const v1::Schema> settled = settled_;
  if (heard) settled = own.schema;
  if (settled != settled_)
    State(options_.database).Put(&batch, kStateSettled, settled->SerializeAsString());
  // From now on it stops what it has to. It must do so after a crash as well; if that cannot be
  // written down now, it is tried again with the next look.
  {
    MutexLock lock(&mu_);
    unsettled_ = now;
    counted_ = settled;
  }
  if (now != kept_) State(options_.database).Put(&batch, kStateUnsettled, Serialize(now));
  if (batch.Count() == 0) return absl::OkStatus();
  RETURN_IF_ERROR(options_.database->Write(&batch, /*sync=*/true));
  if (settled != settled_) {
    LogInfo("schema", {{"node", options_.node}, {"state", "compared_with_all"}});
  }
  settled_ = std::move(settled);
  kept_ = std::move(now);
  return absl::OkStatus();
}

void SchemaWatch::Compare() {
  std::shared_ptr<const v1::Schema> own;
  std::map<std::string, Known> others;
  {
    MutexLock lock(&mu_);
    own = own_.schema;
    others = others_;
  }
  if (options_.changed != nullptr) options_.changed();
  if (own == nullptr) return;
  std::map<std::string, Seen> found;
  const Seen now{.steady = SteadyNow(), .wall = absl::Now(), .statement = ""};
  const auto add = [&](const postgres::ShapeDifference& difference) {
    if (!difference.matters) return;
    Seen& seen = found[absl::StrCat("table ", difference.table, ": ", difference.what)];
    seen = now;
    if (!difference.at_other) seen.statement = difference.statement;
  };
  for (const postgres::ShapeDifference& unfit : postgres::UnfitTables(*own)) add(unfit);
  for (const auto& [node, known] : others) {
    if (known.schema == nullptr) continue;
    for (const postgres::ShapeDifference& difference : postgres::CompareSchemas(
             {.schema = own.get(), .where = "here"},
             {.schema = known.schema.get(), .where = absl::StrCat("on ", node)})) {
      add(difference);
    }
  }
  MutexLock lock(&mu_);
  for (auto& [text, seen] : found) {
    const auto before = differences_.find(text);
    if (before == differences_.end()) continue;
    seen.steady = before->second.steady;
    seen.wall = before->second.wall;
  }
  differences_ = std::move(found);
}

std::vector<SchemaWatch::Difference> SchemaWatch::Differences() const {
  std::vector<Difference> standing;
  const absl::Time before = SteadyNow() - kStanding;
  MutexLock lock(&mu_);
  for (const auto& [text, seen] : differences_) {
    if (seen.steady > before) continue;
    standing.push_back({.text = text, .statement = seen.statement, .since = seen.wall});
  }
  return standing;
}

std::vector<std::string> SchemaWatch::GeneratedAt(NodeId node, absl::string_view schema,
                                                  absl::string_view table) const {
  std::shared_ptr<const v1::Schema> shapes;
  {
    MutexLock lock(&mu_);
    for (const auto& [name, known] : others_) {
      if (known.id == node) shapes = known.schema;
    }
  }
  std::vector<std::string> columns;
  const v1::TableShape* shape =
      shapes == nullptr ? nullptr : postgres::FindTableShape(*shapes, schema, table);
  if (shape == nullptr) return columns;
  for (const v1::ColumnShape& column : shape->columns()) {
    if (!column.generated_as().empty()) columns.push_back(column.name());
  }
  return columns;
}

absl::Status SchemaWatch::Counts(const postgres::TableInfo& table,
                                 const postgres::ConstraintInfo& constraint,
                                 int64_t stamp_us) const {
  const std::string meaning = constraint.Meaning();
  MutexLock lock(&mu_);
  const v1::TableShape* shape =
      own_.schema == nullptr ? nullptr
                             : postgres::FindTableShape(*own_.schema, table.schema, table.name);
  if (shape != nullptr &&
      std::none_of(shape->unique().begin(), shape->unique().end(),
                   [&](const v1::ConstraintShape& known) { return known.meaning() == meaning; })) {
    return absl::UnavailableError(
        "that index is not valid, or was made just now: whether all nodes have it will be known in "
        "some seconds");
  }
  const auto found = unsettled_.find({table.schema, table.name, meaning});
  if (found == unsettled_.end()) {
    // What was settled before the agent was last away is so still; of what was made since nothing
    // is known before the other nodes were heard of.
    const v1::TableShape* settled =
        counted_ == nullptr ? nullptr
                            : postgres::FindTableShape(*counted_, table.schema, table.name);
    if (settled != nullptr &&
        std::any_of(settled->unique().begin(), settled->unique().end(),
                    [&](const v1::ConstraintShape& known) { return known.meaning() == meaning; })) {
      return absl::OkStatus();
    }
    return absl::UnavailableError(
        "whether every node has that constraint is known once bdr-server has answered");
  }
  if (!found->second.lacked_by.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("node \"", found->second.lacked_by, "\" does not have that constraint"));
  }
  if (stamp_us > found->second.until_us) return absl::OkStatus();
  return absl::FailedPreconditionError("one of them is from before every node had that constraint");
}

}  // namespace bdr::agent
