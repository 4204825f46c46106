#include "ctl/sequence_conversion.h"

#include <algorithm>
#include <map>
#include <set>
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

constexpr absl::string_view kLockNotAvailable = "55P03";
constexpr absl::Duration kLockDeadline = absl::Seconds(60);
constexpr absl::Duration kLockPause = absl::Milliseconds(100);
// How fast numbers are drawn is looked at for so long.
constexpr absl::Duration kMeasure = absl::Milliseconds(300);
// Longer than it takes until every node is converted, locks that are waited for included.
constexpr double kConversionSeconds = 120;
constexpr int64_t kLeastMargin = 1000;
// The same where a person carries it out.
constexpr double kByHandSeconds = 3600;
constexpr int64_t kLeastByHand = 100'000;
// A sequence's MAXVALUE is above its MINVALUE.
constexpr int64_t kFewest = 2;
// No sequence has this number.
constexpr uint32_t kRehearsed = 2147483647;
constexpr uint32_t kFewestNodes = 4;
constexpr uint32_t kBlock = 1024;

constexpr char kLookSql[] =
    "SELECT coalesce(b.method, 'local'), coalesce(b.number, 0),"
    " coalesce((b.parameters ->> 'slots')::int, 0), coalesce((b.parameters ->> 'block')::bigint, "
    "0),"
    " c.relation IS NOT NULL,"
    " coalesce(b.parameters ? 'cap'"
    "  OR (b.method = 'stepped_blocks' AND pg_sequence_last_value(b.register) & 16 <> 0), false),"
    " coalesce(b.data_type, q.seqtypid::regtype)::text,"
    " coalesce(b.max, c.max, q.seqmax), q.seqmax,"
    " coalesce(bdr.sequence_highest(s.oid), 0),"
    " array_to_string(ARRAY(SELECT format('column %I of table %s', u.attname, u.relation)"
    "  FROM bdr.sequence_columns(s.oid) u"
    "  UNION ALL SELECT * FROM bdr.sequence_mentions(s.oid)), '|')"
    " FROM pg_sequence q JOIN pg_class s ON s.oid = q.seqrelid"
    " LEFT JOIN bdr.sequence b ON b.relation = s.oid"
    " LEFT JOIN bdr.sequence_cap c ON c.relation = s.oid WHERE s.oid = to_regclass($1)";

std::string Literal(absl::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    quoted += c;
    if (c == '\'') quoted += c;
  }
  return quoted + "'";
}

template <typename Number>
absl::Status ReadNumber(absl::string_view text, Number* number) {
  if (absl::SimpleAtoi(text, number)) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("\"", text, "\" is no number"));
}

bool IsStepped(absl::string_view method) { return absl::StartsWith(method, "stepped"); }

// Of its numbers a node draws none by itself, so bdr-server ends them when it is told.
bool EndsWithServer(absl::string_view method) {
  const seqam::Method* found = seqam::FindMethod(method);
  return found != nullptr && found->needs_allocator();
}

}  // namespace

SequenceConversion::SequenceConversion(SequenceWish wish, std::vector<SequenceNode>* nodes)
    : wish_(std::move(wish)) {
  for (SequenceNode& node : *nodes) nodes_.push_back({.node = &node});
}

absl::Status SequenceConversion::Look(const Server& server) {
  RETURN_IF_ERROR(LookOnce());
  RETURN_IF_ERROR(FindKnown(server));
  for (Node& node : nodes_) node.settled = IsSettled(node);
  RETURN_IF_ERROR(ChooseSlots());
  if (done()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckNumberIsFree());
  RETURN_IF_ERROR(Measure());
  return ChooseFirst();
}

absl::Status SequenceConversion::Measure() {
  const absl::Time before = absl::Now();
  std::map<std::string, int64_t> highest;
  for (const Node& node : nodes_) highest[node.node->name] = node.highest;
  absl::SleepFor(kMeasure);
  RETURN_IF_ERROR(LookOnce());
  const double seconds = absl::ToDoubleSeconds(absl::Now() - before);
  for (const Node& node : nodes_) {
    per_second_ += static_cast<double>(node.highest - highest[node.node->name]) / seconds;
  }
  return absl::OkStatus();
}

absl::Status SequenceConversion::LookAtNode(Node* node) {
  const postgres::Param params[] = {{.data = wish_.sequence}};
  auto row = node->node->connection->ExecParams(kLookSql, params);
  // As in RunOn(): it may have to lock tables, which vacuum holds now and then.
  for (const absl::Time until = absl::Now() + kLockDeadline;
       postgres::Sqlstate(row.status()) == kLockNotAvailable && absl::Now() < until;) {
    absl::SleepFor(kLockPause);
    row = node->node->connection->ExecParams(kLookSql, params);
  }
  if (!row.ok()) return OnNode(*node->node, row.status());
  if (row->rows() == 0) {
    return absl::NotFoundError(absl::StrCat("node \"", node->node->name, "\" has no sequence \"",
                                            wish_.sequence, "\"; write it as SCHEMA.NAME"));
  }
  node->method = std::string(row->value(0, 0));
  RETURN_IF_ERROR(ReadNumber(row->value(0, 1), &node->number));
  RETURN_IF_ERROR(ReadNumber(row->value(0, 2), &node->slots));
  RETURN_IF_ERROR(ReadNumber(row->value(0, 3), &node->block));
  node->capped = row->value(0, 4) == "t";
  node->switching = row->value(0, 5) == "t";
  node->data_type = std::string(row->value(0, 6));
  RETURN_IF_ERROR(ReadNumber(row->value(0, 7), &node->max));
  RETURN_IF_ERROR(ReadNumber(row->value(0, 8), &node->present_max));
  RETURN_IF_ERROR(ReadNumber(row->value(0, 9), &node->highest));
  node->uses = absl::StrSplit(row->value(0, 10), '|', absl::SkipEmpty());
  return absl::OkStatus();
}

absl::Status SequenceConversion::LookOnce() {
  for (Node& node : nodes_) RETURN_IF_ERROR(LookAtNode(&node));
  for (const Node& node : nodes_) {
    if (node.data_type == nodes_[0].data_type && node.max == nodes_[0].max) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("sequence \"", wish_.sequence, "\" is ", nodes_[0].data_type, " up to ",
                     nodes_[0].max, " on node \"", nodes_[0].node->name, "\" and ", node.data_type,
                     " up to ", node.max, " on \"", node.node->name, "\": make them alike first"));
  }
  return absl::OkStatus();
}

absl::Status SequenceConversion::FindKnown(const Server& server) {
  ASSIGN_OR_RETURN(const auto listed,
                   server.Call(&v1::ControlPlane::Stub::ListSequences, v1::ListSequencesRequest()));
  for (const v1::SequenceState& state : listed.sequences()) {
    const bool has_number = std::any_of(nodes_.begin(), nodes_.end(), [&state](const Node& node) {
      return node.number == state.number();
    });
    if (has_number) {
      known_ = state;
      break;
    }
    if (state.name() == wish_.sequence) known_ = state;
  }
  return absl::OkStatus();
}

// Another sequence, which is there still, may have had this name when it was converted, and has its
// number since.
absl::Status SequenceConversion::CheckNumberIsFree() {
  if (!known_.has_value()) return absl::OkStatus();
  const std::string number = absl::StrCat(known_->number());
  for (Node& node : nodes_) {
    const postgres::Param params[] = {{.data = number}, {.data = wish_.sequence}};
    const auto row = node.node->connection->ExecParams(
        "SELECT c.oid::regclass::text FROM bdr.sequence q JOIN pg_class c ON c.oid = q.relation"
        " WHERE q.number = $1::int AND q.relation <> to_regclass($2)",
        params);
    if (!row.ok()) return OnNode(*node.node, row.status());
    if (row->rows() == 0) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("sequence \"", wish_.sequence, "\" has the name that \"", row->value(0, 0),
                     "\" had on node \"", node.node->name,
                     "\" when that was converted: run \"bdrctl sequence "
                     "convert\" for that with --method local first, and then for both"));
  }
  return absl::OkStatus();
}

bool SequenceConversion::IsSettled(const Node& node) const {
  if (node.capped) return false;
  if (wish_.method == "local") {
    return node.number == 0 && (!known_.has_value() || known_->method() == "local");
  }
  return known_.has_value() && known_->method() == wish_.method && node.method == wish_.method &&
         node.number == known_->number();
}

bool SequenceConversion::IsHeld(const Node& node) const {
  if (!known_.has_value() || known_->method() != wish_.method) return false;
  if (node.number == 0) return node.capped && node.present_max < known_->next();
  // On its way to another method, which was given up: it has gone on by this one.
  if (node.method == wish_.method) return false;
  return node.capped || EndsWithServer(node.method);
}

bool SequenceConversion::done() const {
  return !widens_ &&
         std::all_of(nodes_.begin(), nodes_.end(), [](const Node& node) { return node.settled; });
}

absl::Status SequenceConversion::ChooseSlots() {
  if (!IsStepped(wish_.method)) return CheckSlots();
  uint32_t settled = 0;
  uint32_t block = 0;
  uint32_t highest = kFewestNodes;
  for (const Node& node : nodes_) {
    highest = std::max(highest, node.node->id);
    if (!node.settled) continue;
    settled = std::max(settled, node.slots);
    block = std::max(block, node.block);
  }
  if (wish_.slots == 0) wish_.slots = settled > 0 ? settled : 2 * highest;
  if (wish_.method == "stepped_blocks") {
    if (wish_.block == 0) wish_.block = block > 0 ? block : kBlock;
    if (block > 0 && wish_.block != block) {
      return absl::FailedPreconditionError(
          absl::StrCat("sequence \"", wish_.sequence, "\" has blocks of ", block,
                       ", which cannot change: leave --block out"));
    }
  }
  widens_ = std::any_of(nodes_.begin(), nodes_.end(), [this](const Node& node) {
    return node.settled && (node.slots != wish_.slots || node.switching);
  });
  return CheckSlots();
}

absl::Status SequenceConversion::CheckSlots() const {
  if (!IsStepped(wish_.method) && wish_.slots > 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("method ", wish_.method, " has no slots: leave --slots out"));
  }
  for (const Node& node : nodes_) {
    if (!IsStepped(wish_.method) || node.node->id <= wish_.slots) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "node \"", node.node->name, "\" has id ", node.node->id, ", and with ", wish_.slots,
        " slots there is none for it: give more by --slots, with room "
        "for nodes to come"));
  }
  return absl::OkStatus();
}

absl::Status SequenceConversion::ChooseFirst() {
  begun_ = std::all_of(nodes_.begin(), nodes_.end(),
                       [this](const Node& node) { return node.settled || IsHeld(node); }) ||
           (IsGapless() && AnySettled());
  if (begun_) {
    first_ = known_.has_value() ? known_->next() : 0;
    return CheckGapless();
  }
  last_ = Limit();
  if (known_.has_value()) last_ = std::max(last_, known_->next() - 1);
  // One that counts down has its MAXVALUE where it began, and no method.
  if (last_ >= nodes_[0].max && nodes_[0].max > 0) return AtItsMaxvalue();
  first_ = InStepWithSettled(last_ + 1);
  last_ = first_ - 1;
  return absl::OkStatus();
}

absl::Status SequenceConversion::AtItsMaxvalue() const {
  const Node& highest =
      *std::max_element(nodes_.begin(), nodes_.end(),
                        [](const Node& a, const Node& b) { return a.highest < b.highest; });
  return absl::FailedPreconditionError(absl::StrCat(
      "sequence \"", wish_.sequence, "\" is at its MAXVALUE ", nodes_[0].max,
      ", or leaves no room up to there for what is drawn until every node is converted: the "
      "highest "
      "number in use is ",
      highest.highest, ", on node \"", highest.node->name,
      "\"; raise MAXVALUE on every node, or, if a row holds a number that the sequence never gave "
      "out, change that row (",
      highest.uses.empty() ? "no column draws from it" : absl::StrJoin(highest.uses, ", "), ")"));
}

int64_t SequenceConversion::InStepWithSettled(int64_t first) const {
  const bool none =
      std::none_of(nodes_.begin(), nodes_.end(), [](const Node& node) { return node.settled; });
  if (wish_.method != "stepped_blocks" || none) return first;
  // As bdr.stepped_blocks_register() counts: blocks are dealt from the first whole one on.
  const auto block_from = [this](int64_t number) { return (number - 2) / wish_.block + 2; };
  int64_t block = block_from(first);
  while ((block - ((known_->next() - 1) / wish_.block + 1)) % wish_.slots != 0) ++block;
  return (block - 1) * wish_.block + 1;
}

bool SequenceConversion::IsGapless() const { return wish_.method == "gapless"; }

bool SequenceConversion::AnySettled() const {
  return std::any_of(nodes_.begin(), nodes_.end(), [](const Node& node) { return node.settled; });
}

// The others go on where they are: what a node has given out by itself beyond would come again.
absl::Status SequenceConversion::CheckGapless() const {
  if (!IsGapless() || !AnySettled()) return absl::OkStatus();
  for (const Node& node : nodes_) {
    if (node.settled || node.number != 0 || node.highest < known_->next()) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "node \"", node.node->name, "\" has given out numbers of sequence \"", wish_.sequence,
        "\" up to ", node.highest, " by itself, and the others go on at ", known_->next(),
        ": let them go on beyond first, by \"bdrctl sequence takeover --from ", node.highest + 1,
        "\""));
  }
  return absl::OkStatus();
}

int64_t SequenceConversion::CapOf(const Node& node) const {
  if (begun_ || (AnySettled() && IsHeld(node))) return known_->next() - 1;
  return last_;
}

int64_t SequenceConversion::Limit() const {
  int64_t highest = 0;
  for (const Node& node : nodes_) {
    if (!node.settled) highest = std::max(highest, node.highest);
  }
  // Where nobody draws numbers go on without a gap, for those who want none. Another method's
  // sequence must end above its first number.
  const bool plain = std::all_of(nodes_.begin(), nodes_.end(), [](const Node& node) {
    return node.settled || node.method == "local" || node.method == "gapless";
  });
  if (IsGapless() && per_second_ == 0 && plain) return highest;
  // A type's share that nobody misses, at most.
  const auto drawn =
      static_cast<int64_t>(per_second_ * (wish_.by_hand ? kByHandSeconds : kConversionSeconds)) +
      (wish_.by_hand ? kLeastByHand : kLeastMargin);
  const int64_t margin = std::max(kFewest, std::min(nodes_[0].max / 1000, drawn));
  if (highest > nodes_[0].max - margin) return nodes_[0].max;
  return highest + margin;
}

std::string SequenceConversion::CapSql(int64_t last) const {
  return absl::StrCat("SELECT bdr.cap_sequence(", Literal(wish_.sequence), "::regclass, ", last,
                      ")");
}

std::string SequenceConversion::ConvertSql(absl::string_view number, const Node& node) const {
  return absl::StrCat("SELECT bdr.convert_sequence(", Literal(wish_.sequence), "::regclass, ",
                      Literal(wish_.method), ", ", number, ", ", node.node->id, ", ", first_, ", ",
                      Literal(Parameters(node)), ")");
}

std::string SequenceConversion::Parameters(const Node& node) const {
  if (wish_.slots == 0) return "{}";
  Json parameters = {{"slots", wish_.slots}, {"slot", node.node->id - 1}};
  if (wish_.block > 0) parameters["block"] = wish_.block;
  return parameters.dump();
}

// It gives the sequence its number, and says where the method's numbers begin.
absl::Status SequenceConversion::TellServer(const Server& server) {
  v1::ConvertSequenceRequest request;
  request.set_name(known_.has_value() ? known_->name() : wish_.sequence);
  request.set_method(wish_.method);
  request.set_data_type(nodes_[0].data_type);
  request.set_first(first_);
  request.set_last(nodes_[0].max);
  if (IsGapless() && known_.has_value() && known_->method() == "gapless" && !AnySettled()) {
    // No node's row is the one of the turn that bdr-server knows of any more.
    request.set_method("local");
    RETURN_IF_ERROR(server.Call(&v1::ControlPlane::Stub::ConvertSequence, request).status());
    request.set_method(wish_.method);
  }
  ASSIGN_OR_RETURN(const auto converted,
                   server.Call(&v1::ControlPlane::Stub::ConvertSequence, request));
  known_ = converted.sequence();
  number_ = known_->number();
  first_ = known_->next();
  return absl::OkStatus();
}

// Each says how far it goes by the slots that it has; beyond all of that it goes on with the new
// ones. Both may be repeated: what was switched already is capped and switched once more.
absl::Status SequenceConversion::Widen(const Server& server) {
  const auto ahead = static_cast<int64_t>(per_second_ * kConversionSeconds) + kLeastMargin;
  first_ = 0;
  for (Node& node : nodes_) {
    if (!node.settled) continue;
    ASSIGN_OR_RETURN(const std::string cap,
                     RunOn(node, absl::StrCat("SELECT bdr.stepped_cap(", Literal(wish_.sequence),
                                              "::regclass, ", ahead, ")")));
    int64_t last = 0;
    RETURN_IF_ERROR(ReadNumber(cap, &last));
    first_ = std::max(first_, last + 1);
    BDR_FAIL_POINT("conversion_capped");
  }
  // For a node that is added later.
  RETURN_IF_ERROR(TellServer(server));
  BDR_FAIL_POINT("conversion_numbered");
  for (Node& node : nodes_) {
    if (!node.settled) continue;
    RETURN_IF_ERROR(RunOn(node, absl::StrCat("SELECT bdr.stepped_switch(", Literal(wish_.sequence),
                                             "::regclass, ", wish_.slots, ", ", node.node->id - 1,
                                             ", ", first_, ")"))
                        .status());
    BDR_FAIL_POINT("conversion_first_node");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> SequenceConversion::RunOn(Node& node, const std::string& sql) {
  postgres::Connection& connection = *node.node->connection;
  const absl::Time until = absl::Now() + kLockDeadline;
  while (true) {
    const auto ran = connection.Exec(sql);
    if (ran.ok()) {
      return ran->rows() == 0 || ran->is_null(0, 0) ? "" : std::string(ran->value(0, 0));
    }
    (void)connection.Exec("ROLLBACK");  // of more than one statement
    if (postgres::Sqlstate(ran.status()) != kLockNotAvailable || absl::Now() > until) {
      return OnNode(*node.node, ran.status());
    }
    absl::SleepFor(kLockPause);
  }
}

// All of it, and then nothing: what a node refuses is to be known before anything is changed.
absl::Status SequenceConversion::Rehearse(Node& node) {
  return RunOn(node, absl::StrCat("BEGIN; ", CapSql(CapOf(node)), "; ",
                                  ConvertSql(absl::StrCat(kRehearsed), node), "; ROLLBACK"))
      .status();
}

absl::Status SequenceConversion::Run(const Server& server) {
  if (done()) return absl::OkStatus();
  if (widens_) {
    RETURN_IF_ERROR(Widen(server));
    RETURN_IF_ERROR(ChooseFirst());
  }
  std::vector<Node*> rest;
  for (Node& node : nodes_) {
    if (!node.settled) rest.push_back(&node);
  }
  if (!begun_) {
    for (Node* node : rest) RETURN_IF_ERROR(Rehearse(*node));
  }
  // Where it is begun this changes nothing, or fails: a node that was let go beyond meanwhile must
  // not be taken for one that was kept.
  for (Node* node : rest) RETURN_IF_ERROR(RunOn(*node, CapSql(CapOf(*node))).status());
  BDR_FAIL_POINT("conversion_capped");
  if (!rest.empty()) RETURN_IF_ERROR(TellServer(server));
  BDR_FAIL_POINT("conversion_numbered");
  for (Node* node : rest) {
    RETURN_IF_ERROR(RunOn(*node, ConvertSql(absl::StrCat(number_), *node)).status());
    node->method = wish_.method;
    BDR_FAIL_POINT("conversion_first_node");
  }
  ran_ = true;
  return absl::OkStatus();
}

std::string SequenceConversion::Text(bool dry_run) const {
  std::string text;
  if (dry_run) {
    for (const Node& node : nodes_) {
      absl::StrAppend(&text, "node ", node.node->name, ": method ", node.method,
                      ", highest number ", node.highest, "\n");
      for (const std::string& use : node.uses) absl::StrAppend(&text, "  ", use, "\n");
    }
  }
  if (done()) {
    return absl::StrCat(text, "sequence ", wish_.sequence, " is of method ", wish_.method,
                        " already\n");
  }
  if (dry_run) return absl::StrCat(text, StatementsText());
  return absl::StrCat("sequence ", wish_.sequence, " is of method ", wish_.method, " on ",
                      nodes_.size(), nodes_.size() == 1 ? " node" : " nodes", ", from ", first_,
                      " on\n");
}

absl::StatusOr<SequenceConversion::Statements> SequenceConversion::StatementsForAnyNode(
    const Server& server, bool reserve) {
  if (done()) return Statements{};
  const auto cap_differs = [this](const Node& node) {
    return !node.settled && CapOf(node) != (begun_ ? known_->next() - 1 : last_);
  };
  if (widens_ || std::any_of(nodes_.begin(), nodes_.end(), cap_differs)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "sequence \"", wish_.sequence,
        "\" has the method on some nodes, or other slots, and a "
        "script would have to differ from node to node: run this with a superuser's --database"));
  }
  const int64_t last = begun_ ? known_->next() - 1 : last_;
  if (reserve) RETURN_IF_ERROR(TellServer(server));
  const std::string relation = absl::StrCat(Literal(wish_.sequence), "::regclass");
  const std::string number = reserve ? absl::StrCat(number_) : "NUMBER";
  // Where it was converted a cap would end the method's own numbers.
  const std::string where =
      wish_.method == "local"
          ? absl::StrCat("EXISTS (SELECT FROM bdr.sequence WHERE relation = ", relation,
                         ") OR EXISTS (SELECT FROM bdr.sequence_cap WHERE relation = ", relation,
                         ")")
          : absl::StrCat("NOT EXISTS (SELECT FROM bdr.sequence WHERE relation = ", relation,
                         " AND method = ", Literal(wish_.method), " AND number = ", number, ")");
  std::string parameters = "'{}'";
  if (wish_.slots > 0) {
    parameters = absl::StrCat("jsonb_build_object('slots', ", wish_.slots, ", 'slot', node_id - 1",
                              wish_.block > 0 ? absl::StrCat(", 'block', ", wish_.block) : "", ")");
  }
  std::set<std::string> methods = {Literal(wish_.method)};
  for (const Node& node : nodes_) methods.insert(Literal(node.method));
  const std::string row =
      absl::StrCat("(SELECT q.method FROM bdr.sequence q WHERE q.relation = ", relation, ")");
  // What drew by itself and was kept below `first_` is there still.
  const std::string beyond = wish_.method == "local"
                                 ? ""
                                 : absl::StrCat(" OR ", row, " IS NULL AND pg_sequence_last_value(",
                                                relation, ") >= ", first_);
  return Statements{
      .check =
          absl::StrCat("DO $bdr$ BEGIN IF COALESCE(", row, ", 'local') NOT IN (",
                       absl::StrJoin(methods, ", "), ")", beyond,
                       " THEN RAISE EXCEPTION 'sequence % is not as it was when this script was "
                       "printed: print another', ",
                       relation, "; END IF; END $bdr$"),
      .cap = absl::StrCat("SELECT bdr.cap_sequence(", relation, ", ", last, ") WHERE ", where),
      .convert =
          absl::StrCat("SELECT bdr.convert_sequence(", relation, ", ", Literal(wish_.method), ", ",
                       number, ", node_id, ", first_, ", ", parameters, ") FROM bdr.node")};
}

std::string SequenceConversion::StatementsText() const {
  if (widens_) {
    return absl::StrCat("\nIt gets ", wish_.slots,
                        " slots, by bdr.stepped_cap() and bdr.stepped_switch()\n");
  }
  std::string caps;
  std::string conversions;
  for (const Node& node : nodes_) {
    if (node.settled) continue;
    absl::StrAppend(&caps, "  ", node.node->name, ": ", CapSql(CapOf(node)), ";\n");
    absl::StrAppend(&conversions, "  ", node.node->name, ": ", ConvertSql("NUMBER", node), ";\n");
  }
  return absl::StrCat("\nOn every node, first:\n", caps,
                      "and after that, as the number that bdr-server gives it:\n", conversions);
}

Json SequenceConversion::Document(bool dry_run) const {
  Json document = {{"sequence", wish_.sequence},
                   {"method", wish_.method},
                   {"dry_run", dry_run},
                   {"state", done() ? "unchanged"
                             : ran_ ? "converted"
                                    : "to_convert"}};
  if (ran_) {
    document["number"] = number_;
    document["first"] = first_;
  }
  document["nodes"] = Json::array();
  for (const Node& node : nodes_) {
    document["nodes"].push_back({{"node", node.node->name},
                                 {"method", node.method},
                                 {"highest", node.highest},
                                 {"uses", node.uses}});
  }
  return document;
}

}  // namespace bdr::ctl
