#include "node-agent/config/agent_config.h"

#include <libpq-fe.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bdr::agent {
namespace {

bool IsNodeName(absl::string_view name) {
  if (name.empty() || name.size() > 63 || !absl::ascii_islower(name[0])) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-';
  });
}

// A connection string that libpq understands and that holds no password: this file is not where
// people look for secrets, and its content ends up in backups and tickets.
bool IsConninfoWithoutPassword(absl::string_view text) {
  PQconninfoOption* options = PQconninfoParse(std::string(text).c_str(), nullptr);
  if (options == nullptr) return false;
  bool password = false;
  for (const PQconninfoOption* o = options; o->keyword != nullptr; ++o) {
    if (std::strcmp(o->keyword, "password") == 0 && o->val != nullptr) password = true;
  }
  PQconninfoFree(options);
  return !password && !text.empty();
}

}  // namespace

config::Declaration DeclareAgentConfig(AgentConfig* config) {
  config::Declaration keys;
  keys.String(
      "node", &config->node, "name of this node in the cluster",
      {.required = true,
       .valid = IsNodeName,
       .expected = "a name of up to 63 small letters, digits and hyphens that begins with a "
                   "letter, such as \"eu1\""});
  keys.String("database", &config->database,
              "libpq connection string of this node's database, as the agent's role; a password "
              "belongs in ~/.pgpass or in the file that `passfile` names",
              {.required = true,
               .valid = IsConninfoWithoutPassword,
               .expected = "a libpq connection string such as \"host=/var/run/postgresql "
                           "dbname=shop user=bdr\", without a password (that belongs in ~/.pgpass "
                           "or a passfile)"});
  DeclareListeners(&keys, config);
  keys.AddressList("control", &config->control, "addresses of all bdr-servers, tried in turn",
                   {.required = true});
  DeclareSecurity(&keys, &config->security);
  keys.ByteSize(
      "memory_limit", &config->memory_limit,
      "memory that the agent keeps to, whatever the size of a transaction; a large row takes "
      "several times its size beyond it",
      {.default_value = "256MiB", .min = "64MiB"});
  keys.Duration("max_clock_skew", &config->max_clock_skew,
                "how far a peer's clock may be ahead before its changes are held, with an alarm",
                {.default_value = "500ms", .min = "1ms"});
  keys.ByteSize("log_retention_bytes", &config->log_retention_bytes,
                "changes that are kept for members who have not got them, at which capture pauses",
                {.default_value = "10GiB", .min = "64MiB"});
  keys.ByteSize("block_max_bytes", &config->block_max_bytes,
                "changes that are compressed, stored and shipped as one block, before compression",
                {.default_value = "1MiB", .min = "16KiB", .max = "16MiB"});
  keys.Duration("heartbeat_interval", &config->heartbeat_interval,
                "how often peers hear of this node; half a second where nothing was written for a "
                "while",
                {.default_value = "100ms", .min = "5ms", .max = "100ms"});
  keys.Integer("apply.group_max_transactions", &config->apply_group_max_transactions,
               "remote transactions that are applied as one local transaction at most",
               {.default_value = "500", .min = "1"});
  keys.ByteSize("apply.group_max_bytes", &config->apply_group_max_bytes,
                "bytes of changes in one such group at most; a larger transaction is its own group",
                {.default_value = "4MiB", .min = "1KiB"});
  keys.Duration("apply.group_max_time", &config->apply_group_max_time,
                "how long one such group may take, since its row locks make users wait",
                {.default_value = "200ms", .min = "1ms"});
  keys.Duration(
      "apply.stall_warning", &config->apply_stall_warning,
      "without progress for that long while changes wait, apply of an origin is no longer "
      "ok, and status tells what it is doing",
      {.default_value = "30s", .min = "100ms"});
  keys.String("on_apply_error", &config->on_apply_error,
              "what to do about a transaction that cannot be applied: `stop` its origin until it "
              "can, or put it aside whole in bdr.dead_letter and go on",
              {.default_value = "stop", .one_of = {"stop", "dead_letter"}});
  keys.Bool("publish_new_tables", &config->publish_new_tables,
            "whether tables that are made, or made again, are published by the agent within "
            "seconds; else status warns of them until somebody runs bdr.sync_publications()",
            {.default_value = "true"});
  keys.Bool("forward_foreign_origins", &config->forward_foreign_origins,
            "whether what another tool writes here under a replication origin of its own (a "
            "subscription, an ETL job) goes to the other nodes as this node's; else it stays here, "
            "and status warns",
            {.default_value = "false"});
  keys.Duration("conflict_log.max_age", &config->conflict_log_max_age,
                "age at which rows leave bdr.conflict_log", {.default_value = "7d", .min = "1m"});
  keys.Integer("conflict_log.max_rows", &config->conflict_log_max_rows,
               "number of rows beyond which the oldest leave bdr.conflict_log",
               {.default_value = "1000000", .min = "1"});
  DeclareLog(&keys, config);
  return keys;
}

absl::StatusOr<AgentConfig> LoadAgentConfig(const std::string& path) {
  AgentConfig config;
  RETURN_IF_ERROR(DeclareAgentConfig(&config).LoadFile(path));
  std::vector<std::pair<std::string, std::string>> addresses = {
      {"listen", config.listen}, {"metrics_listen", config.metrics_listen}};
  for (const std::string& server : config.control) addresses.emplace_back("control", server);
  RETURN_IF_ERROR(CheckSecurity(path, config.security, addresses));
  return config;
}

}  // namespace bdr::agent
