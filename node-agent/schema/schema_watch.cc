#include "node-agent/schema/schema_watch.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "bdr/v1/control.pb.h"
#include "bdr/v1/schema.pb.h"
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

SchemaWatch::SchemaWatch(Options options) : options_(std::move(options)) {
  thread_ = std::thread([this] { Run(); });
}

SchemaWatch::~SchemaWatch() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    woken_.NotifyAll();
  }
  thread_.join();
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
        if (!status.ok()) LogWarning("schema", {{"node", options_.node}}, error_);
      }
      if (!status.ok()) {
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
    if (changed) Compare();
  }
}

absl::Status SchemaWatch::Look() {
  if (connection_ == nullptr) {
    ASSIGN_OR_RETURN(connection_,
                     postgres::Connection::Connect(
                         {.conninfo = options_.conninfo, .application_name = "bdr schema"}));
  }
  // Taken before what follows: what ends later is seen by the next look.
  ASSIGN_OR_RETURN(std::string snapshot, postgres::PresentSnapshot(*connection_));
  if (snapshot == snapshot_) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::string fingerprint, postgres::CatalogFingerprint(*connection_));
  if (fingerprint != fingerprint_) {
    auto schema = std::make_shared<v1::Schema>();
    RETURN_IF_ERROR(postgres::ReadSchema(*connection_, schema.get()));
    postgres::PackedSchema packed = postgres::PackSchema(*schema);
    if (packed.bytes.size() > kMaxPackedBytes) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "the shapes of ", schema->tables_size(), " tables take ", packed.bytes.size(),
          " bytes: too many to tell the other nodes, so differences are not noticed"));
    }
    fingerprint_ = std::move(fingerprint);
    MutexLock lock(&mu_);
    if (own_.hash != packed.hash) {
      own_ = {.hash = std::move(packed.hash), .schema = std::move(schema)};
      packed_ = std::move(packed.bytes);
      told_ = false;
      changed_ = true;
    }
  }
  snapshot_ = std::move(snapshot);
  return absl::OkStatus();
}

void SchemaWatch::FillReport(v1::NodeSchema* report) const {
  MutexLock lock(&mu_);
  if (own_.hash.empty()) return;
  report->set_hash(own_.hash);
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
  if (gone > 0) {
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
  changed_ = true;
  woken_.NotifyAll();
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

}  // namespace bdr::agent
