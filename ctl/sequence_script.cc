#include "ctl/sequence_script.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "postgres/connection.h"

namespace bdr::ctl {
namespace {

constexpr char kScript[] = R"(-- Brings sequences to method @METHOD@: @SEQUENCES@.
--
-- For a superuser, in the database of each node: @NODES@. First step 1 on every node, and only
-- then step 2 on every node:
--
--     psql -v step=1 -f THIS_FILE
--     psql -v step=2 -f THIS_FILE
--
-- Where it fails, at a lock that somebody holds for example, that step can be run again. Users draw
-- up to a limit by themselves between the steps, or, of method galloc, what is in reserve: do both
-- within an hour, or minutes. A later script of the same sequences takes the place of this one, on all
-- nodes.
\set ON_ERROR_STOP on
@GUARD@SET search_path = pg_catalog, pg_temp;
SET lock_timeout = '1s';
DO $bdr$
BEGIN
    IF NOT EXISTS (SELECT FROM bdr.node WHERE cluster_id = @CLUSTER@) THEN
        RAISE EXCEPTION 'this database is of no node of the cluster that the script was made for';
    ELSIF clock_timestamp() > @UNTIL@ THEN
        RAISE EXCEPTION 'this script is more than a day old: print another';
    END IF;
END $bdr$;
SELECT :step = 1 AS is_first, :step = 2 AS is_second \gset
\if :is_first
@CAPS@\endif
\if :is_second
@CONVERSIONS@\endif
)";

constexpr char kGuard[] =
    "\\warn 'To be read only: with --reserve bdr-server gives each sequence its number.'\n\\quit\n";

}  // namespace

absl::StatusOr<SequenceScript> WriteSequenceScript(const Server& server, const SequenceWish& wish,
                                                   bool reserve, const std::string& cluster_id,
                                                   const std::vector<std::string>& sequences,
                                                   std::vector<SequenceNode>& nodes) {
  SequenceScript script{.text = "", .document = Json::array()};
  std::string caps;
  std::string conversions;
  for (const std::string& sequence : sequences) {
    SequenceWish one = wish;
    one.sequence = sequence;
    one.by_hand = true;
    SequenceConversion conversion(one, &nodes);
    RETURN_IF_ERROR(conversion.Look(server));
    ASSIGN_OR_RETURN(const SequenceConversion::Statements statements,
                     conversion.StatementsForAnyNode(server, reserve));
    if (!statements.cap.empty()) absl::StrAppend(&caps, statements.cap, ";\n");
    if (!statements.convert.empty()) {
      absl::StrAppend(&conversions, statements.check, ";\n", statements.convert, ";\n");
    }
    script.document.push_back({{"sequence", sequence},
                               {"method", wish.method},
                               {"state", conversion.done() ? "unchanged" : "to_convert"},
                               {"reserved", reserve},
                               {"cap", statements.cap},
                               {"convert", statements.convert}});
  }
  std::vector<std::string> names;
  for (const SequenceNode& node : nodes) names.push_back(node.name);
  script.text = absl::StrReplaceAll(
      kScript, {{"@METHOD@", wish.method},
                {"@SEQUENCES@", absl::StrJoin(sequences, ", ")},
                {"@NODES@", absl::StrJoin(names, ", ")},
                {"@GUARD@", reserve ? "" : kGuard},
                {"@CLUSTER@", postgres::QuoteLiteral(cluster_id)},
                {"@UNTIL@", postgres::QuoteLiteral(absl::FormatTime(absl::Now() + absl::Hours(24),
                                                                    absl::UTCTimeZone()))},
                {"@CAPS@", caps},
                {"@CONVERSIONS@", conversions}});
  return script;
}

}  // namespace bdr::ctl
