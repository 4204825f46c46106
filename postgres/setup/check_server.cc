#include <map>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "postgres/setup/checks.h"
#include "postgres/setup/setup_sql.h"

namespace bdr::pg_setup {
namespace {

struct Setting {
  std::string value;
  bool pending_restart = false;
};
using Settings = std::map<std::string, Setting>;

absl::StatusOr<Settings> ReadSettings(postgres::Connection& connection) {
  ASSIGN_OR_RETURN(const postgres::Result rows,
                   connection.Exec("SELECT name, setting, pending_restart FROM pg_settings"));
  Settings settings;
  for (int i = 0; i < rows.rows(); ++i) {
    settings[std::string(rows.value(i, 0))] = {.value = std::string(rows.value(i, 1)),
                                               .pending_restart = rows.value(i, 2) == "t"};
  }
  return settings;
}

int IntOf(const Settings& settings, const std::string& name) {
  const auto found = settings.find(name);
  int value = 0;
  if (found == settings.end() || !absl::SimpleAtoi(found->second.value, &value)) return 0;
  return value;
}

std::string AlterSystem(absl::string_view name, absl::string_view value) {
  return absl::StrCat("ALTER SYSTEM SET ", name, " = ", postgres::QuoteLiteral(value));
}

// A setting that needs one value, and a restart to take it.
void RequireSetting(const Settings& settings, const std::string& name, absl::string_view wanted,
                    absl::string_view why, Findings& findings) {
  const auto found = settings.find(name);
  if (found == settings.end()) return;  // not in this version
  const Setting& setting = found->second;
  findings.Require(setting.value == wanted, absl::StrCat(name, " is ", wanted),
                   absl::StrCat(name, " is ", setting.value, ", must be ", wanted, ": ", why,
                                setting.pending_restart ? " (changed already: restart PostgreSQL)"
                                                        : " (then restart PostgreSQL)"),
                   AlterSystem(name, wanted));
}

// The first minor release of November 2026 or later in each line. 15.20 is the one that was
// tested; the lines are released on the same day with one number each, so the others follow by
// their distance (15.15, 16.11, 17.7 and 18.1 were released together).
int FirstGoodMinor(int major) {
  switch (major) {
    case 15:
      return 20;
    case 16:
      return 16;
    case 17:
      return 12;
    case 18:
      return 6;
    default:
      return 0;
  }
}

void CheckVersion(int version, Findings& findings) {
  const int major = version / 10000;
  const int minor = version % 10000;
  if (major < 15) {
    findings.Error(
        absl::StrFormat("PostgreSQL %d.%d is too old: 15 or later is needed", major, minor));
    return;
  }
  if (minor < FirstGoodMinor(major)) {
    findings.Warning(absl::StrFormat(
        "PostgreSQL %d.%d lacks fixes to logical decoding of November 2026: update to %d.%d or "
        "later",
        major, minor, major, FirstGoodMinor(major)));
    return;
  }
  findings.Ok(absl::StrFormat("PostgreSQL %d.%d", major, minor));
}

// `used` of `name` are taken, none or too few may be left.
void CheckSupply(const Settings& settings, const std::string& name, int used, bool has_ours,
                 int wanted, absl::string_view what, Findings& findings) {
  const int limit = IntOf(settings, name);
  const std::string remedy = AlterSystem(name, absl::StrCat(wanted));
  if (used >= limit && !has_ours) {
    findings.Error(absl::StrCat("no free ", what, ": ", name, " is ", limit, ", ", used,
                                " are in use (raise it, then restart PostgreSQL)"),
                   // Never lower than what is there already.
                   AlterSystem(name, absl::StrCat(std::max(wanted, limit + 10))));
  } else if (limit < wanted / 2) {
    findings.Warning(absl::StrCat(name, " is ", limit, ", which is little for a cluster"), remedy);
  } else {
    findings.Ok(absl::StrCat(name, " is ", limit, ", ", used, " in use"));
  }
}

absl::Status CheckSupplies(postgres::Connection& connection, const Settings& settings,
                           Findings& findings) {
  ASSIGN_OR_RETURN(
      const postgres::Result counts,
      connection.Exec(
          "SELECT (SELECT count(*) FROM pg_replication_slots),"
          "       (SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'bdr%'"
          "        AND database = current_database()),"
          "       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'),"
          "       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'"
          "        AND application_name LIKE 'bdr%')"));
  int slots = 0, our_slots = 0, senders = 0, our_senders = 0;
  if (!absl::SimpleAtoi(counts.value(0, 0), &slots) ||
      !absl::SimpleAtoi(counts.value(0, 1), &our_slots) ||
      !absl::SimpleAtoi(counts.value(0, 2), &senders) ||
      !absl::SimpleAtoi(counts.value(0, 3), &our_senders)) {
    return absl::InternalError("cannot count replication slots and senders: not numbers");
  }
  CheckSupply(settings, "max_replication_slots", slots, our_slots > 0, kWantedReplicationSlots,
              "replication slot", findings);
  CheckSupply(settings, "max_wal_senders", senders, our_senders > 0, kWantedWalSenders,
              "WAL sender", findings);
  return absl::OkStatus();
}

// From PostgreSQL 18 on origins have a limit of their own, before they share that of the slots.
void CheckOrigins(const Settings& settings, Findings& findings) {
  const std::string name = "max_active_replication_origins";
  if (settings.count(name) == 0) return;
  const int limit = IntOf(settings, name);
  if (limit < 10) {
    findings.Warning(absl::StrCat(name, " is ", limit,
                                  ": every peer needs one (raise it, then restart PostgreSQL)"),
                     AlterSystem(name, absl::StrCat(kWantedReplicationSlots)));
  } else {
    findings.Ok(absl::StrCat(name, " is ", limit));
  }
}

void CheckRetention(const Settings& settings, Findings& findings) {
  const int keep_mb = IntOf(settings, "max_slot_wal_keep_size");
  if (keep_mb >= 0) {
    findings.Warning(
        absl::StrCat("max_slot_wal_keep_size is ", keep_mb,
                     " MB: after an outage of the agent with more WAL than that the slot is "
                     "invalidated, and the changes not yet decoded are lost to the other nodes"),
        AlterSystem("max_slot_wal_keep_size", "-1"));
  } else {
    findings.Ok(
        "max_slot_wal_keep_size is -1: WAL is kept until the agent has read it; a peer that is "
        "down does not hold it back");
  }
  if (IntOf(settings, "idle_replication_slot_timeout") > 0) {
    findings.Warning(
        "idle_replication_slot_timeout is set: an outage of the agent longer than that invalidates "
        "its slot",
        AlterSystem("idle_replication_slot_timeout", "0"));
  }
}

void CheckPlugins(const Settings& settings, Findings& findings) {
  const auto allowed = settings.find("output_plugin_libraries");
  if (allowed == settings.end()) return;
  findings.Require(absl::StrContains(allowed->second.value, "pgoutput"),
                   "output_plugin_libraries allows pgoutput",
                   "output_plugin_libraries does not allow pgoutput, which decodes the changes",
                   AlterSystem("output_plugin_libraries",
                               allowed->second.value.empty()
                                   ? "pgoutput"
                                   : absl::StrCat(allowed->second.value, ", pgoutput")));
}

}  // namespace

absl::Status CheckServer(postgres::Connection& connection, Findings& findings) {
  CheckVersion(connection.server_version(), findings);
  ASSIGN_OR_RETURN(const std::string standby, connection.QueryValue("SELECT pg_is_in_recovery()"));
  if (standby == "t") {
    findings.Error("the server is a standby: it takes no writes", "SELECT pg_catalog.pg_promote()");
  }
  ASSIGN_OR_RETURN(const Settings settings, ReadSettings(connection));
  RequireSetting(settings, "wal_level", "logical", "changes are read from the WAL", findings);
  RequireSetting(settings, "track_commit_timestamp", "on",
                 "conflicts are resolved by the time of the last write", findings);
  RETURN_IF_ERROR(CheckSupplies(connection, settings, findings));
  CheckOrigins(settings, findings);
  CheckRetention(settings, findings);
  CheckPlugins(settings, findings);

  ASSIGN_OR_RETURN(const std::string encoding,
                   connection.QueryValue("SELECT getdatabaseencoding()"));
  if (encoding == "UTF8") {
    findings.Ok("the database is encoded in UTF8");
  } else {
    findings.Warning(absl::StrCat("the database is encoded in ", encoding,
                                  ": every node must have the same, best UTF8"));
  }
  return absl::OkStatus();
}

}  // namespace bdr::pg_setup
