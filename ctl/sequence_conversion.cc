#include "ctl/sequence_conversion.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/test_hooks.h"
#include "ctl/format.h"
#include "seqam/registry.h"

namespace bdr::ctl {
namespace {

// Users who want to draw wait behind our wish for a lock for so long at most.
constexpr char kLockTimeout[] = "SET lock_timeout = '200ms'";
constexpr absl::string_view kLockNotAvailable = "55P03";
constexpr absl::Duration kLockDeadline = absl::Seconds(60);
// How fast numbers are drawn is looked at for so long.
constexpr absl::Duration kMeasure = absl::Milliseconds(300);
// Longer than it takes until every node is converted, locks that are waited for included.
constexpr double kConversionSeconds = 120;
constexpr int64_t kLeastMargin = 1000;
// No sequence has this number.
constexpr uint32_t kRehearsed = 2147483647;
constexpr absl::Duration kLockPause = absl::Milliseconds(100);

std::string Literal(absl::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    quoted += c;
    if (c == '\'') quoted += c;
  }
  return quoted + "'";
}

absl::StatusOr<int64_t> ToNumber(absl::string_view text) {
  int64_t number = 0;
  if (absl::SimpleAtoi(text, &number)) return number;
  return absl::InternalError(absl::StrCat("\"", text, "\" is no number"));
}

}  // namespace

absl::StatusOr<SequenceConversion> SequenceConversion::Open(
    const SequenceWish& wish, const v1::Membership& membership,
    const std::map<std::string, std::string>& databases) {
  SequenceConversion conversion;
  conversion.wish_ = wish;
  for (const v1::Member& member : membership.members()) {
    Node node{.name = member.name(), .id = member.node_id()};
    ASSIGN_OR_RETURN(node.connection,
                     postgres::Connection::Connect(
                         {.conninfo = databases.at(member.name()), .application_name = "bdrctl"}));
    // Before a node has joined its database knows nothing of it; and a schema that is too old has
    // no such table.
    const auto known =
        node.connection->QueryValue("SELECT cluster_id || ' ' || node_id FROM bdr.node");
    const std::string expected = absl::StrCat(membership.cluster_id(), " ", member.node_id());
    if (!known.ok() || *known != expected) {
      return absl::FailedPreconditionError(
          absl::StrCat("the database given for node \"", member.name(), "\" is not its: it ",
                       known.ok() ? absl::StrCat("belongs to node ", *known)
                                  : std::string(known.status().message()),
                       "; give another --database"));
    }
    RETURN_IF_ERROR(node.connection->Exec(kLockTimeout).status());
    conversion.nodes_.push_back(std::move(node));
  }
  RETURN_IF_ERROR(conversion.CheckSlots());
  return conversion;
}

absl::Status SequenceConversion::Look() {
  RETURN_IF_ERROR(LookOnce());
  const absl::Time before = absl::Now();
  std::map<std::string, int64_t> highest;
  for (const Node& node : nodes_) highest[node.name] = node.highest;
  absl::SleepFor(kMeasure);
  RETURN_IF_ERROR(LookOnce());
  const double seconds = absl::ToDoubleSeconds(absl::Now() - before);
  for (const Node& node : nodes_) {
    per_second_ += static_cast<double>(node.highest - highest[node.name]) / seconds;
  }
  return absl::OkStatus();
}

absl::Status SequenceConversion::LookOnce() {
  for (Node& node : nodes_) {
    const postgres::Param params[] = {{.data = wish_.sequence}};
    const auto row = node.connection->ExecParams(
        "SELECT s.oid::regclass::text, coalesce(b.method, 'local'),"
        " coalesce(b.data_type, q.seqtypid::regtype)::text,"
        " coalesce(b.max, (SELECT c.max FROM bdr.sequence_cap c WHERE c.relation = s.oid), "
        "q.seqmax),"
        " coalesce(bdr.sequence_highest(s.oid), 0),"
        " array_to_string(ARRAY(SELECT format('column %I of table %s', u.attname, u.relation)"
        " FROM bdr.sequence_columns(s.oid) u UNION ALL SELECT * FROM "
        "bdr.sequence_mentions(s.oid)), '|')"
        ", coalesce((b.parameters ->> 'slots')::int, 0), q.seqmax"
        " FROM pg_sequence q JOIN pg_class s ON s.oid = q.seqrelid"
        " LEFT JOIN bdr.sequence b ON b.relation = s.oid WHERE s.oid = to_regclass($1)",
        params);
    RETURN_IF_ERROR(row.status());
    if (row->rows() == 0) {
      return absl::NotFoundError(absl::StrCat("node \"", node.name, "\" has no sequence \"",
                                              wish_.sequence, "\"; write it as SCHEMA.NAME"));
    }
    node.method = std::string(row->value(0, 1));
    node.data_type = std::string(row->value(0, 2));
    ASSIGN_OR_RETURN(node.max, ToNumber(row->value(0, 3)));
    ASSIGN_OR_RETURN(node.highest, ToNumber(row->value(0, 4)));
    ASSIGN_OR_RETURN(const int64_t slots, ToNumber(row->value(0, 6)));
    node.slots = static_cast<uint32_t>(slots);
    ASSIGN_OR_RETURN(node.present_max, ToNumber(row->value(0, 7)));
    node.uses = absl::StrSplit(row->value(0, 5), '|', absl::SkipEmpty());
  }
  for (const Node& node : nodes_) {
    if (node.data_type == nodes_[0].data_type && node.max == nodes_[0].max) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("sequence \"", wish_.sequence, "\" is ", nodes_[0].data_type, " up to ",
                     nodes_[0].max, " on node \"", nodes_[0].name, "\" and ", node.data_type,
                     " up to ", node.max, " on \"", node.name, "\": make them alike first"));
  }
  return absl::OkStatus();
}

int64_t SequenceConversion::Limit() const {
  int64_t highest = 0;
  for (const Node& node : nodes_) highest = std::max(highest, node.highest);
  // A type's share that nobody misses, at most.
  const auto drawn = static_cast<int64_t>(per_second_ * kConversionSeconds);
  const int64_t margin = std::min(nodes_[0].max / 1000, kLeastMargin + drawn);
  if (highest > nodes_[0].max - margin) return nodes_[0].max;
  return highest + margin;
}

std::string SequenceConversion::ConvertSql(absl::string_view number, uint32_t node,
                                           int64_t first) const {
  return absl::StrCat("SELECT bdr.convert_sequence(", Literal(wish_.sequence), "::regclass, ",
                      Literal(wish_.method), ", ", number, ", ", node, ", ", first, ", ",
                      Literal(Parameters(node)), ")");
}

std::string SequenceConversion::Parameters(uint32_t node) const {
  if (wish_.slots == 0) return "{}";
  Json parameters = {{"slots", wish_.slots}, {"slot", node - 1}};
  if (wish_.block > 0) parameters["block"] = wish_.block;
  return parameters.dump();
}

absl::Status SequenceConversion::CheckSlots() const {
  const bool stepped = absl::StartsWith(wish_.method, "stepped");
  if (!stepped && wish_.slots > 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("method ", wish_.method, " has no slots: leave --slots out"));
  }
  for (const Node& node : nodes_) {
    if (!stepped || node.id <= wish_.slots) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "node \"", node.name, "\" has id ", node.id, ", and with --slots ", wish_.slots,
        " there is no slot for it: give more, with room for nodes to come"));
  }
  return absl::OkStatus();
}

// It gives the sequence its number, and says where the method's numbers begin.
absl::Status SequenceConversion::TellServer(const Server& server) {
  v1::ConvertSequenceRequest request;
  request.set_name(wish_.sequence);
  request.set_method(wish_.method);
  request.set_data_type(nodes_[0].data_type);
  request.set_first(first_);
  request.set_last(nodes_[0].max);
  ASSIGN_OR_RETURN(const auto converted,
                   server.Call(&v1::ControlPlane::Stub::ConvertSequence, request));
  number_ = converted.sequence().number();
  first_ = converted.sequence().next();
  return absl::OkStatus();
}

// Each says how far it goes by the slots that it has; beyond all of that it goes on with the new
// ones. Both may be repeated: what was switched already is capped and switched once more.
absl::Status SequenceConversion::Widen(const Server& server) {
  const auto ahead = static_cast<int64_t>(per_second_ * kConversionSeconds) + kLeastMargin;
  for (Node& node : nodes_) {
    ASSIGN_OR_RETURN(const std::string cap,
                     RunOn(node, absl::StrCat("SELECT bdr.stepped_cap(", Literal(wish_.sequence),
                                              "::regclass, ", ahead, ")")));
    ASSIGN_OR_RETURN(const int64_t last, ToNumber(cap));
    first_ = std::max(first_, last + 1);
    BDR_FAIL_POINT("conversion_capped");
  }
  // For a node that is added later.
  RETURN_IF_ERROR(TellServer(server));
  BDR_FAIL_POINT("conversion_numbered");
  for (Node& node : nodes_) {
    RETURN_IF_ERROR(
        RunOn(node, absl::StrCat("SELECT bdr.stepped_switch(", Literal(wish_.sequence),
                                 "::regclass, ", wish_.slots, ", ", node.id - 1, ", ", first_, ")"))
            .status());
    BDR_FAIL_POINT("conversion_first_node");
  }
  return absl::OkStatus();
}

std::string SequenceConversion::CapSql(int64_t last) const {
  return absl::StrCat("SELECT bdr.cap_sequence(", Literal(wish_.sequence), "::regclass, ", last,
                      ")");
}

absl::StatusOr<std::string> SequenceConversion::RunOn(Node& node, const std::string& sql) {
  const absl::Time until = absl::Now() + kLockDeadline;
  while (true) {
    const auto done = node.connection->Exec(sql);
    if (done.ok()) {
      return done->rows() == 0 || done->is_null(0, 0) ? "" : std::string(done->value(0, 0));
    }
    (void)node.connection->Exec("ROLLBACK");  // of more than one statement
    if (postgres::Sqlstate(done.status()) != kLockNotAvailable || absl::Now() > until) {
      return absl::Status(done.status().code(),
                          absl::StrCat("node \"", node.name, "\": ", done.status().message()));
    }
    absl::SleepFor(kLockPause);
  }
}

// All of it, and then nothing: what a node refuses is to be known before anything is changed.
absl::Status SequenceConversion::Rehearse(Node& node) {
  return RunOn(node,
               absl::StrCat("BEGIN; ", CapSql(first_ - 1), "; ",
                            ConvertSql(absl::StrCat(kRehearsed), node.id, first_), "; ROLLBACK"))
      .status();
}

absl::Status SequenceConversion::Run(const Server& server) {
  const bool widens = std::all_of(nodes_.begin(), nodes_.end(), [this](const Node& node) {
    return node.method == wish_.method && node.slots > 0;
  });
  const bool has_slots = std::all_of(
      nodes_.begin(), nodes_.end(), [this](const Node& node) { return node.slots == wish_.slots; });
  if (widens && !has_slots) return Widen(server);
  ASSIGN_OR_RETURN(const auto listed,
                   server.Call(&v1::ControlPlane::Stub::ListSequences, v1::ListSequencesRequest()));
  const v1::SequenceState* known = nullptr;
  for (const v1::SequenceState& state : listed.sequences()) {
    if (state.name() == wish_.sequence) known = &state;
  }
  // It was begun if every node that has not the method is kept below its numbers already: a
  // sequence that was dropped and made again is not.
  const bool begun = known != nullptr && known->method() == wish_.method &&
                     std::all_of(nodes_.begin(), nodes_.end(), [&](const Node& node) {
                       return node.method == wish_.method || node.present_max < known->next();
                     });
  first_ = begun ? known->next() : 0;
  int64_t last = begun ? 0 : Limit();
  if (!begun) {
    if (known != nullptr) last = std::max(last, known->next());
    first_ = last + 1;
    for (Node& node : nodes_) RETURN_IF_ERROR(Rehearse(node));
    for (Node& node : nodes_) RETURN_IF_ERROR(RunOn(node, CapSql(last)).status());
    BDR_FAIL_POINT("conversion_capped");
  }
  RETURN_IF_ERROR(TellServer(server));
  BDR_FAIL_POINT("conversion_numbered");
  for (Node& node : nodes_) {
    RETURN_IF_ERROR(RunOn(node, ConvertSql(absl::StrCat(number_), node.id, first_)).status());
    node.method = wish_.method;
    BDR_FAIL_POINT("conversion_first_node");
  }
  return absl::OkStatus();
}

std::string SequenceConversion::Text(bool dry_run) const {
  if (!dry_run) {
    return absl::StrCat("sequence ", wish_.sequence, " is of method ", wish_.method, " on ",
                        nodes_.size(), nodes_.size() == 1 ? " node" : " nodes", ", from ", first_,
                        " on\n");
  }
  std::string text;
  for (const Node& node : nodes_) {
    absl::StrAppend(&text, "node ", node.name, ": method ", node.method, ", highest number ",
                    node.highest, "\n");
    for (const std::string& use : node.uses) absl::StrAppend(&text, "  ", use, "\n");
  }
  const int64_t last = Limit();
  absl::StrAppend(&text, "\nOn every node, then:\n  ", CapSql(last), ";\n");
  absl::StrAppend(&text, "and after that, as the number that bdr-server gives it:\n");
  for (const Node& node : nodes_) {
    absl::StrAppend(&text, "  ", node.name, ": ", ConvertSql("NUMBER", node.id, last + 1), ";\n");
  }
  return text;
}

Json SequenceConversion::Document(bool dry_run) const {
  Json document = {{"sequence", wish_.sequence}, {"method", wish_.method}, {"dry_run", dry_run}};
  if (!dry_run) {
    document["number"] = number_;
    document["first"] = first_;
  }
  document["nodes"] = Json::array();
  for (const Node& node : nodes_) {
    document["nodes"].push_back({{"node", node.name},
                                 {"method", node.method},
                                 {"highest", node.highest},
                                 {"uses", node.uses}});
  }
  return document;
}

}  // namespace bdr::ctl
