// bdrctl sequence ...: which method gives out the numbers of a sequence, and bringing it to
// another.
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "ctl/command.h"
#include "ctl/convert_sequences.h"
#include "ctl/format.h"
#include "ctl/rpc.h"
#include "ctl/sequence_choice.h"
#include "ctl/sequence_conversion.h"
#include "ctl/sequence_nodes.h"
#include "ctl/sequence_script.h"
#include "ctl/sequence_takeover.h"
#include "ctl/table.h"
#include "postgres/connection.h"
#include "seqam/registry.h"

namespace bdr::ctl {
namespace {

struct ConvertOptions {
  SequenceChoice choice;
  SequenceWish wish;
  std::vector<std::string> databases;
  bool dry_run = false;
  bool print_sql = false;
  bool reserve = false;
};

// NODE=CONNINFO, once for each member.
absl::StatusOr<std::map<std::string, std::string>> Databases(const std::vector<std::string>& given,
                                                             const v1::Membership& membership) {
  std::map<std::string, std::string> databases;
  for (const std::string& one : given) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(one, absl::MaxSplits('=', 1));
    RETURN_IF_ERROR(SelectMembers(membership, parts.first).status());
    databases[parts.first] = parts.second;
  }
  std::vector<std::string> missing;
  for (const v1::Member& member : membership.members()) {
    if (!databases.contains(member.name())) missing.push_back(member.name());
  }
  if (missing.empty()) return databases;
  return absl::InvalidArgumentError(
      absl::StrCat("a sequence is converted on every node at once: give the database of ",
                   absl::StrJoin(missing, ", "),
                   " as well, each as --database NODE='host=... dbname=... user=...'"));
}

std::string MethodNames() {
  std::vector<std::string> names;
  for (const seqam::Method* method : seqam::Methods()) names.emplace_back(method->name());
  return absl::StrJoin(names, ", ");
}

absl::StatusOr<int> Convert(const Invocation& invocation, const ConvertOptions& options) {
  if (seqam::FindMethod(options.wish.method) == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("there is no method \"", options.wish.method,
                                                   "\"; there are: ", MethodNames()));
  }
  RETURN_IF_ERROR(CheckChoice(options.choice));
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(const auto databases, Databases(options.databases, membership));
  ASSIGN_OR_RETURN(std::vector<SequenceNode> nodes,
                   OpenSequenceNodes(membership, databases, options.print_sql));
  ASSIGN_OR_RETURN(
      const std::vector<std::string> sequences,
      ChooseSequences(options.choice, /*only_converted=*/options.wish.method == "local", server,
                      nodes));
  if (options.print_sql) {
    ASSIGN_OR_RETURN(SequenceScript script,
                     WriteSequenceScript(server, options.wish, options.reserve,
                                         membership.cluster_id(), sequences, nodes));
    invocation.Print({.text = script.text, .document = std::move(script.document)});
    return kGood;
  }
  return ConvertSequences(invocation, server, options.wish, options.dry_run, sequences, nodes);
}

struct InterceptOptions {
  std::string role;
  std::vector<std::string> databases;
  bool off = false;
};

absl::StatusOr<int> Intercept(const Invocation& invocation, const InterceptOptions& options) {
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  ASSIGN_OR_RETURN(const auto databases, Databases(options.databases, membership));
  Json document = Json::array();
  std::string text;
  for (const auto& [node, conninfo] : databases) {
    ASSIGN_OR_RETURN(
        const auto connection,
        postgres::Connection::Connect({.conninfo = conninfo, .application_name = "bdrctl"}));
    const postgres::Param params[] = {{.data = options.role},
                                      {.data = options.off ? "false" : "true"}};
    const auto path = connection->QueryValue("SELECT bdr.intercept($1, $2::boolean)", params);
    if (!path.ok()) {
      return absl::Status(path.status().code(),
                          absl::StrCat("node \"", node, "\": ", path.status().message()));
    }
    absl::StrAppend(&text, "node ", node, ": new sessions of role \"", options.role,
                    "\" have search_path ", *path, "\n");
    document.push_back({{"node", node}, {"role", options.role}, {"search_path", *path}});
  }
  invocation.Print({.text = text, .document = std::move(document)});
  return kGood;
}

// How long `count` numbers last; "-" where nothing is drawn.
std::string Lasts(double count, double per_second) {
  if (per_second < 0.01) return "-";
  return HumanLag(static_cast<int64_t>(count / per_second * 1000));
}

// What a node draws from.
std::string Chunk(const v1::SequenceStatus& here) {
  if (!here.turn().empty()) {
    return here.next() == 0 ? here.turn() : absl::StrCat(here.turn(), ", next ", here.next());
  }
  if (here.chunk_last() == 0) return "-";
  return absl::StrCat(here.chunk_first(), "..", here.chunk_last());
}

absl::StatusOr<int> List(const Invocation& invocation, const std::string& only) {
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  ASSIGN_OR_RETURN(const auto sequences,
                   server.Call(&v1::ControlPlane::Stub::ListSequences, v1::ListSequencesRequest()));
  ASSIGN_OR_RETURN(const auto status,
                   server.Call(&v1::ControlPlane::Stub::ClusterStatus, v1::ClusterStatusRequest()));
  Table table({{"SEQUENCE"},
               {"METHOD"},
               {"TYPE"},
               {"NODE"},
               {"CHUNK"},
               {"RESERVE", Table::Align::kRight},
               {"LASTS", Table::Align::kRight},
               {"USED", Table::Align::kRight},
               {"EXHAUSTED IN", Table::Align::kRight}});
  Json document = Json::array();
  for (const v1::SequenceState& sequence : sequences.sequences()) {
    if (!only.empty() && sequence.name() != only) continue;
    double per_second = 0;
    for (const v1::ReportedStatus& node : status.nodes()) {
      for (const v1::SequenceStatus& here : node.status().sequences()) {
        if (here.number() == sequence.number()) per_second += here.per_second();
      }
    }
    const auto left = static_cast<double>(sequence.last() - sequence.next() + 1);
    const double used =
        100 - 100 * left / std::max<double>(static_cast<double>(sequence.last()), 1);
    Json entry = {{"name", sequence.name()},      {"method", sequence.method()},
                  {"type", sequence.data_type()}, {"number", sequence.number()},
                  {"next", sequence.next()},      {"last", sequence.last()},
                  {"per_second", per_second},     {"nodes", Json::array()}};
    bool first = true;
    for (const v1::ReportedStatus& node : status.nodes()) {
      for (const v1::SequenceStatus& here : node.status().sequences()) {
        if (here.number() != sequence.number()) continue;
        table.AddRow({first ? sequence.name() : "", first ? sequence.method() : "",
                      first ? sequence.data_type() : "", node.member().name(), Chunk(here),
                      here.turn().empty() ? absl::StrCat(here.reserve()) : "-",
                      Lasts(static_cast<double>(here.reserve()), here.per_second()),
                      first ? absl::StrFormat("%.0f %%", used) : "",
                      first ? Lasts(left, per_second) : ""});
        entry["nodes"].push_back({{"node", node.member().name()},
                                  {"chunk_first", here.chunk_first()},
                                  {"chunk_last", here.chunk_last()},
                                  {"reserve", here.reserve()},
                                  {"turn", here.turn()},
                                  {"next", here.next()},
                                  {"per_second", here.per_second()}});
        first = false;
      }
    }
    if (first) {
      table.AddRow(
          {sequence.name(), sequence.method(), sequence.data_type(), "-", "-", "-", "-", "-", "-"});
    }
    document.push_back(std::move(entry));
  }
  if (!only.empty() && document.empty()) {
    return absl::NotFoundError(
        absl::StrCat("sequence \"", only, "\" was never converted; write it as SCHEMA.NAME"));
  }
  invocation.Print({.text = table.empty() ? "every sequence is PostgreSQL's own\n" : table.Render(),
                    .document = only.empty() ? std::move(document) : document[0]});
  return kGood;
}

}  // namespace

void AddSequenceCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* noun =
      AddNoun(app, "sequence", "How sequences give out numbers that no two nodes share",
              {"bdrctl sequence list",
               "bdrctl sequence convert public.orders_id_seq --method galloc --database "
               "eu1='host=db1 dbname=shop user=postgres' --database us2='host=db2 ...'"});
  AddVerb(noun, invocation, "list", "Shows the sequences that were converted, node by node",
          {"bdrctl sequence list", "bdrctl sequence list -o json"},
          [invocation] { return List(*invocation, ""); });
  auto shown = std::make_shared<std::string>();
  CLI::App* show = AddVerb(noun, invocation, "show", "Shows one of them",
                           {"bdrctl sequence show public.orders_id_seq"},
                           [invocation, shown] { return List(*invocation, *shown); });
  show->add_option("SEQUENCE", *shown, "As SCHEMA.NAME")->required();

  AddSequenceTakeover(noun, invocation);

  auto intercepted = std::make_shared<InterceptOptions>();
  CLI::App* intercept = AddVerb(
      noun, invocation, "intercept",
      "Lets nextval(), currval(), lastval() and setval() of a role go by each sequence's method, "
      "for "
      "applications that call them",
      {"bdrctl sequence intercept shop_app --database eu1='host=db1 dbname=shop user=postgres' "
       "--database us2='host=db2 dbname=shop user=postgres'"},
      [invocation, intercepted] { return Intercept(*invocation, *intercepted); });
  intercept->add_option("ROLE", intercepted->role, "The role that the application logs in as")
      ->required();
  intercept->add_option("--database", intercepted->databases,
                        "NODE=CONNINFO of each node: libpq connection string, as a superuser");
  intercept->add_flag("--off", intercepted->off, "Leave that off again");

  auto options = std::make_shared<ConvertOptions>();
  CLI::App* verb = AddVerb(
      noun, invocation, "convert",
      "Brings sequences to another method on every node, or back to local, while everybody "
      "writes; if it is interrupted, the same command goes on",
      {"bdrctl sequence convert public.orders_id_seq --method galloc --dry-run --database "
       "eu1='host=db1 dbname=shop user=postgres' --database us2='host=db2 dbname=shop "
       "user=postgres'",
       "bdrctl sequence convert --match 'public.*_id_seq' --method snowflake --database ...",
       "bdrctl sequence convert --all --method local --database ..."},
      [invocation, options] { return Convert(*invocation, *options); });
  verb->add_option("SEQUENCE", options->choice.names, "As SCHEMA.NAME; any number of them");
  verb->add_option("--schema", options->choice.schemas,
                   "Instead: all sequences of a schema; may be given again");
  verb->add_option("--match", options->choice.patterns,
                   "Instead: all whose schema.name matches, as in a shell: 'public.*_id_seq'; may "
                   "be given again");
  verb->add_flag("--all", options->choice.all, "Instead: all sequences of users");
  verb->add_option("--method", options->wish.method, absl::StrCat("One of ", MethodNames()))
      ->required();
  verb->add_option("--database", options->databases,
                   "NODE=CONNINFO of each node: libpq connection string, as a superuser");
  verb->add_option("--slots", options->wish.slots,
                   "Of the stepped methods: for how many nodes; a sequence that has the method "
                   "already gets as many");
  verb->add_option("--block", options->wish.block,
                   "Of stepped_blocks: how many numbers a block has, a power of two");
  CLI::Option* dry_run =
      verb->add_flag("--dry-run", options->dry_run,
                     "Change nothing; print what uses each sequence and what would be run where");
  CLI::Option* print_sql =
      verb->add_flag("--print-sql", options->print_sql,
                     "Change nothing on any node; print a script that a superuser runs on each by "
                     "psql. --database takes an owner's connection then")
          ->excludes(dry_run);
  verb->add_flag(
          "--reserve", options->reserve,
          "With --print-sql: tell bdr-server, which gives each sequence its number; without, "
          "the script is to be read only")
      ->needs(print_sql);
}

}  // namespace bdr::ctl
