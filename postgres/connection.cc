#include "postgres/connection.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace bdr::postgres {
namespace {

constexpr absl::string_view kSqlstatePayload = "bdr/sqlstate";
constexpr size_t kSqlInMessageMax = 160;
// What the Bind message can count.
constexpr size_t kParametersMax = 65535;

void IgnoreNotice(void*, const char*) {}

absl::StatusCode CodeOf(absl::string_view sqlstate) {
  const absl::string_view klass = sqlstate.substr(0, 2);
  if (sqlstate == "40001" || sqlstate == "40P01") return absl::StatusCode::kAborted;
  if (sqlstate == "57014") return absl::StatusCode::kCancelled;
  if (sqlstate == "42501") return absl::StatusCode::kPermissionDenied;
  if (sqlstate == "55006" || sqlstate == "55P03") return absl::StatusCode::kUnavailable;
  if (klass == "08" || sqlstate.substr(0, 4) == "57P0") return absl::StatusCode::kUnavailable;
  if (klass == "22" || klass == "23" || klass == "42") return absl::StatusCode::kFailedPrecondition;
  if (klass == "53") return absl::StatusCode::kResourceExhausted;
  return absl::StatusCode::kInternal;
}

// While connecting, other things are passing and other things are final.
absl::StatusCode ConnectCodeOf(absl::string_view sqlstate) {
  const absl::string_view klass = sqlstate.substr(0, 2);
  if (klass == "28" || sqlstate == "42501") return absl::StatusCode::kPermissionDenied;
  if (klass == "53") return absl::StatusCode::kUnavailable;  // too many clients: some will leave
  if (klass == "08" || klass == "57") return absl::StatusCode::kUnavailable;
  return absl::StatusCode::kFailedPrecondition;
}

std::string OneLine(absl::string_view text) {
  std::vector<std::string> lines;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (!line.empty()) lines.emplace_back(line);
  }
  return absl::StrJoin(lines, " ");
}

std::string Describe(absl::string_view sql) {
  // Statements over many columns are long; their beginning tells which one it is.
  std::string text = OneLine(sql.substr(0, 4 * kSqlInMessageMax));
  if (text.size() > kSqlInMessageMax) {
    text.resize(kSqlInMessageMax);
    text += "...";
  }
  return absl::StrCat("cannot run \"", text, "\"");
}

absl::Status WithSqlstate(absl::StatusCode code, std::string message, absl::string_view sqlstate) {
  absl::Status status(code, message);
  if (!sqlstate.empty()) status.SetPayload(kSqlstatePayload, absl::Cord(sqlstate));
  return status;
}

absl::string_view Field(const PGresult* result, int code) {
  const char* value = PQresultErrorField(result, code);
  return value == nullptr ? absl::string_view() : absl::string_view(value);
}

bool IsError(const PGresult* result) {
  switch (PQresultStatus(result)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_SINGLE_TUPLE:
    case PGRES_EMPTY_QUERY:
    case PGRES_PIPELINE_SYNC:
      return false;
    default:
      return true;
  }
}

bool IsCopy(const PGresult* result) {
  const ExecStatusType status = PQresultStatus(result);
  return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

// Leaves COPY mode, so that the connection can be used again.
void AbandonCopy(PGconn* conn, ExecStatusType status) {
  if (status != PGRES_COPY_OUT) PQputCopyEnd(conn, "not expected here");
  if (status != PGRES_COPY_IN) {
    char* buffer = nullptr;
    while (PQgetCopyData(conn, &buffer, 0) > 0) PQfreemem(buffer);
  }
  while (PGresult* rest = PQgetResult(conn)) {
    const bool still_copy = IsCopy(rest);
    PQclear(rest);
    if (still_copy) return;
  }
}

// The arrays that libpq wants for parameters. Points into the params given.
class ParamArrays {
 public:
  explicit ParamArrays(absl::Span<const Param> params) {
    for (const Param& param : params) {
      types_.push_back(param.type_oid);
      // libpq takes text parameters up to their NUL, so text that may lack one is copied; a binary
      // parameter has its length. An empty view may have no data pointer, which would mean NULL.
      if (!param.data.has_value()) {
        values_.push_back(nullptr);
      } else if (param.binary) {
        values_.push_back(param.data->data() == nullptr ? "" : param.data->data());
      } else {
        texts_.emplace_back(*param.data);
        values_.push_back(texts_.back().c_str());
      }
      lengths_.push_back(param.data.has_value() ? static_cast<int>(param.data->size()) : 0);
      formats_.push_back(param.binary ? 1 : 0);
    }
  }

  static absl::Status Check(absl::Span<const Param> params, absl::string_view what) {
    if (params.size() > kParametersMax) {
      return absl::InvalidArgumentError(absl::StrCat(
          what, ": ", params.size(), " parameters, but the protocol allows ", kParametersMax));
    }
    for (const Param& param : params) {
      if (!param.data.has_value()) continue;
      if (param.data->size() > static_cast<size_t>(std::numeric_limits<int>::max())) {
        return absl::InvalidArgumentError(
            absl::StrCat(what, ": a parameter of ", param.data->size(), " bytes is too large"));
      }
      if (!param.binary && absl::StrContains(*param.data, '\0')) {
        return absl::InvalidArgumentError(
            absl::StrCat(what, ": a text parameter holds a NUL byte"));
      }
    }
    return absl::OkStatus();
  }

  int count() const { return static_cast<int>(values_.size()); }
  const Oid* types() const { return types_.data(); }
  const char* const* values() const { return values_.data(); }
  const int* lengths() const { return lengths_.data(); }
  const int* formats() const { return formats_.data(); }

 private:
  absl::InlinedVector<Oid, 16> types_;
  absl::InlinedVector<const char*, 16> values_;
  absl::InlinedVector<int, 16> lengths_;
  absl::InlinedVector<int, 16> formats_;
  std::deque<std::string> texts_;  // a deque: its strings never move
};

// Waits for the socket. Negative errno-style failures are left to the next libpq call to find.
bool PollSocket(PGconn* conn, short events, absl::Time deadline) {
  while (true) {
    int timeout_ms = -1;
    if (deadline != absl::InfiniteFuture()) {
      const absl::Duration left = std::max(deadline - absl::Now(), absl::ZeroDuration());
      const int64_t ms = absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1)));
      timeout_ms = static_cast<int>(std::min<int64_t>(ms, 1000 * 1000));
    }
    pollfd fd{.fd = PQsocket(conn), .events = events, .revents = 0};
    const int ready = poll(&fd, 1, timeout_ms);
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return true;
    if (ready <= 0 && absl::Now() >= deadline) return false;
  }
}

struct ConnInfo {
  std::vector<std::pair<std::string, std::string>> settings;

  std::string Get(absl::string_view key) const {
    for (const auto& [k, v] : settings) {
      if (k == key) return v;
    }
    return "";
  }
  void Set(absl::string_view key, absl::string_view value) {
    for (auto& [k, v] : settings) {
      if (k == key) {
        v = std::string(value);
        return;
      }
    }
    settings.emplace_back(key, value);
  }
  void SetDefault(absl::string_view key, absl::string_view value) {
    if (Get(key).empty()) Set(key, value);
  }
};

absl::StatusOr<ConnInfo> ParseConnInfo(const std::string& conninfo) {
  char* error = nullptr;
  PQconninfoOption* options = PQconninfoParse(conninfo.c_str(), &error);
  if (options == nullptr) {
    // libpq's message may quote the string it failed on, password included: keep it out.
    PQfreemem(error);
    return absl::FailedPreconditionError(
        "cannot connect to PostgreSQL: the connection string is malformed; write it as "
        "\"host=... port=... dbname=... user=...\" or as a postgresql:// URI");
  }
  ConnInfo info;
  for (PQconninfoOption* option = options; option->keyword != nullptr; ++option) {
    if (option->val != nullptr) info.settings.emplace_back(option->keyword, option->val);
  }
  PQconninfoFree(options);
  return info;
}

struct Pin {
  absl::string_view name;
  absl::string_view value;
};

// What a default of the role, the database or the server could make of our sessions. Given as they
// connect, so that nothing runs before it holds: known to every version, and settable by anybody.
constexpr Pin kPins[] = {
    // What ends sessions and statements. Where ours should not wait for ever, they say so.
    {"statement_timeout", "0"},
    {"lock_timeout", "0"},
    {"idle_in_transaction_session_timeout", "0"},
    {"idle_session_timeout", "0"},
    {"tcp_user_timeout", "0"},
    {"wal_sender_timeout", "60s"},
    {"exit_on_error", "off"},
    // What names mean. Temporary tables last: a trigger could have made one named as a catalog.
    {"search_path", "pg_catalog,pg_temp"},
    {"role", "none"},
    {"default_tablespace", ""},
    {"temp_tablespaces", ""},
    {"default_table_access_method", "heap"},
    // How values are written and read.
    {"DateStyle", "ISO,MDY"},
    {"IntervalStyle", "postgres"},
    {"TimeZone", "UTC"},
    {"timezone_abbreviations", "Default"},
    {"extra_float_digits", "3"},
    {"bytea_output", "hex"},
    {"xmlbinary", "base64"},
    {"xmloption", "content"},
    {"lc_monetary", "C"},
    {"lc_numeric", "C"},
    {"lc_time", "C"},
    {"array_nulls", "on"},
    {"transform_null_equals", "off"},
    {"standard_conforming_strings", "on"},
    {"backslash_quote", "safe_encoding"},
    {"escape_string_warning", "off"},
    {"quote_all_identifiers", "off"},
    // What statements see and do.
    {"row_security", "on"},
    {"default_transaction_isolation", "read committed"},
    {"default_transaction_read_only", "off"},
    {"default_transaction_deferrable", "off"},
    {"synchronous_commit", "local"},  // ours wait for no standby
    {"gin_fuzzy_search_limit", "0"},
    {"check_function_bodies", "on"},
    // What reaches client and server log: values of rows are the users'.
    {"client_min_messages", "warning"},
    {"log_parameter_max_length_on_error", "0"},
    {"debug_print_parse", "off"},
    {"debug_print_rewritten", "off"},
    {"debug_print_plan", "off"},
    // Plans. What they cost by is the administrator's.
    {"plan_cache_mode", "auto"},
    {"jit", "off"},
    {"constraint_exclusion", "partition"},
    {"enable_bitmapscan", "on"},
    {"enable_hashagg", "on"},
    {"enable_hashjoin", "on"},
    {"enable_incremental_sort", "on"},
    {"enable_indexonlyscan", "on"},
    {"enable_indexscan", "on"},
    {"enable_material", "on"},
    {"enable_memoize", "on"},
    {"enable_mergejoin", "on"},
    {"enable_nestloop", "on"},
    {"enable_partition_pruning", "on"},
    {"enable_seqscan", "on"},
    {"enable_sort", "on"},
    {"enable_tidscan", "on"},
};

// Once connected: what not every version knows, and what needs a right that the role may lack.
constexpr char kPinMoreSql[] =
    "SELECT pg_catalog.set_config(p.name, p.value, false) FROM (VALUES"
    " ('transaction_timeout', '0', true), ('restrict_nonsystem_relation_kind', '', true),"
    " ('force_parallel_mode', 'off', true), ('debug_parallel_query', 'off', true),"
    " ('session_replication_role', 'origin', false)) AS p(name, value, anybody)"
    " WHERE pg_catalog.current_setting(p.name, true) <> p.value AND"
    " (p.anybody OR pg_catalog.has_parameter_privilege(p.name, 'SET'))";

std::string PinOptions() {
  std::vector<std::string> options;
  for (const Pin& pin : kPins) {
    options.push_back(absl::StrCat("-c ", pin.name, "=",
                                   absl::StrReplaceAll(pin.value, {{"\\", "\\\\"}, {" ", "\\ "}})));
  }
  return absl::StrJoin(options, " ");
}

void Complete(const ConnectOptions& options, ConnInfo* info) {
  if (!options.application_name.empty()) info->Set("application_name", options.application_name);
  // The same encoding everywhere: values of one server are handed to another as they are.
  info->Set("client_encoding", "UTF8");
  if (options.replication) info->Set("replication", "database");
  std::string session = info->Get("options");
  if (!options.users_settings) {
    absl::StrAppend(&session, session.empty() ? "" : " ", PinOptions());
  }
  info->Set("options", session);
  // A peer that vanished without a word is noticed within about half a minute.
  info->SetDefault("keepalives_idle", "15");
  info->SetDefault("keepalives_interval", "5");
  info->SetDefault("keepalives_count", "3");
  // Likewise while it has not acknowledged what was sent: then no keepalive goes out, and the
  // kernel would repeat it for a quarter of an hour.
  info->SetDefault("tcp_user_timeout", "30000");
}

// Which function failed, by the context of an error, and what to do; "" if none did. Contexts may
// hold values of rows, so nothing else is taken.
std::string InFunction(absl::string_view context) {
  for (const absl::string_view line : absl::StrSplit(context, '\n')) {
    if (!absl::StartsWith(line, "PL/pgSQL function") && !absl::StartsWith(line, "SQL function")) {
      continue;
    }
    return absl::StrCat("; in ", line,
                        ", which runs with search_path pg_catalog here: name schemas in it, or "
                        "give it the path it needs (ALTER FUNCTION ... SET search_path = ...)");
  }
  return "";
}

std::string Target(PGconn* conn) {
  const auto text = [](const char* value) {
    return value == nullptr || *value == '\0' ? "(default)" : value;
  };
  return absl::StrCat("database \"", text(PQdb(conn)), "\" as user \"", text(PQuser(conn)),
                      "\" at host \"", text(PQhost(conn)), "\" port ", text(PQport(conn)));
}

// The SQLSTATE in a verbose error message: "FATAL:  28P01: password authentication failed ...".
// libpq keeps no error fields of a connection that failed, and texts may be translated.
std::string SqlstateInText(absl::string_view text) {
  std::string found;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const size_t at = line.find(":  ");
    if (at == absl::string_view::npos) continue;
    const absl::string_view rest = line.substr(at + 3);
    if (rest.size() < 7 || rest.substr(5, 2) != ": ") continue;
    const absl::string_view code = rest.substr(0, 5);
    const bool plausible = std::all_of(code.begin(), code.end(), [](char c) {
      return absl::ascii_isdigit(c) || absl::ascii_isupper(c);
    });
    if (plausible) found = std::string(code);
  }
  return found;
}

std::string WithoutLocation(absl::string_view text) {
  std::vector<absl::string_view> lines;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    // "auth_failed, auth.c:326": the place in the server's source, under a translated title.
    if (absl::StrContains(line, ".c:")) continue;
    lines.push_back(line);
  }
  return OneLine(absl::StrJoin(lines, "\n"));
}

absl::Status ConnectError(PGconn* conn) {
  absl::string_view text = PQerrorMessage(conn);
  if (absl::StripAsciiWhitespace(text).empty()) text = "libpq gave no reason";
  const std::string sqlstate = SqlstateInText(text);
  absl::StatusCode code = absl::StatusCode::kUnavailable;
  if (!sqlstate.empty()) code = ConnectCodeOf(sqlstate);
  if (PQconnectionNeedsPassword(conn) != 0) code = absl::StatusCode::kPermissionDenied;
  return WithSqlstate(code,
                      absl::StrCat("cannot connect to ", Target(conn), ": ", WithoutLocation(text)),
                      sqlstate);
}

}  // namespace

std::string Sqlstate(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kSqlstatePayload);
  return payload.has_value() ? std::string(*payload) : std::string();
}

absl::Status ErrorStatus(absl::string_view what, const PGresult* result, PGconn* conn) {
  const absl::string_view sqlstate = Field(result, PG_DIAG_SQLSTATE);
  if (sqlstate.empty()) {
    const std::string text = OneLine(PQerrorMessage(conn));
    const bool gone = PQstatus(conn) == CONNECTION_BAD;
    const std::string message =
        absl::StrCat(what, ": ", text.empty() ? "the connection was lost" : text);
    return gone ? absl::UnavailableError(message) : absl::InternalError(message);
  }
  std::string message = absl::StrCat(what, ": ", Field(result, PG_DIAG_MESSAGE_PRIMARY));
  const absl::string_view detail = Field(result, PG_DIAG_MESSAGE_DETAIL);
  const absl::string_view hint = Field(result, PG_DIAG_MESSAGE_HINT);
  // Of a violated constraint it holds the row's values, and errors get logged.
  const bool of_constraint = absl::StartsWith(sqlstate, "23");
  if (!detail.empty() && !of_constraint) absl::StrAppend(&message, "; ", detail);
  if (!hint.empty()) absl::StrAppend(&message, "; ", hint);
  // Something that a function names is not there: on our search_path, that is.
  if (sqlstate == "42P01" || sqlstate == "42883" || sqlstate == "42704" || sqlstate == "3F000") {
    absl::StrAppend(&message, InFunction(Field(result, PG_DIAG_CONTEXT)));
  }
  absl::StrAppend(&message, " (SQLSTATE ", sqlstate, ")");
  return WithSqlstate(CodeOf(sqlstate), OneLine(message), sqlstate);
}

int64_t Result::affected() const {
  if (!result_) return 0;
  const absl::string_view tag = PQcmdStatus(result_.get());
  const bool writes = absl::StartsWith(tag, "INSERT") || absl::StartsWith(tag, "UPDATE") ||
                      absl::StartsWith(tag, "DELETE") || absl::StartsWith(tag, "COPY") ||
                      absl::StartsWith(tag, "MERGE");
  int64_t count = 0;
  if (!writes || !absl::SimpleAtoi(PQcmdTuples(result_.get()), &count)) return 0;
  return count;
}

Connection::Connection(PGconn* conn) : conn_(conn), cancel_(PQgetCancel(conn)) {}

Connection::~Connection() {
  PQfreeCancel(cancel_);
  PQfinish(conn_);
}

absl::StatusOr<std::unique_ptr<Connection>> Connection::Connect(const ConnectOptions& options) {
  ASSIGN_OR_RETURN(ConnInfo info, ParseConnInfo(options.conninfo));
  Complete(options, &info);
  std::vector<const char*> keys;
  std::vector<const char*> values;
  for (const auto& [key, value] : info.settings) {
    keys.push_back(key.c_str());
    values.push_back(value.c_str());
  }
  keys.push_back(nullptr);
  values.push_back(nullptr);

  const absl::Time deadline = absl::Now() + options.timeout;
  std::unique_ptr<PGconn, void (*)(PGconn*)> conn(
      PQconnectStartParams(keys.data(), values.data(), 0), &PQfinish);
  if (conn == nullptr) return absl::ResourceExhaustedError("cannot connect: out of memory");
  PQsetNoticeProcessor(conn.get(), &IgnoreNotice, nullptr);
  PQsetErrorVerbosity(conn.get(), PQERRORS_VERBOSE);  // for the SQLSTATE, see ConnectError()

  PostgresPollingStatusType state =
      PQstatus(conn.get()) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
  while (state == PGRES_POLLING_READING || state == PGRES_POLLING_WRITING) {
    if (!PollSocket(conn.get(), state == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline)) {
      return absl::UnavailableError(absl::StrCat("cannot connect to ", Target(conn.get()),
                                                 ": no answer within ",
                                                 absl::FormatDuration(options.timeout)));
    }
    state = PQconnectPoll(conn.get());
  }
  if (state != PGRES_POLLING_OK) return ConnectError(conn.get());
  PQsetErrorVerbosity(conn.get(), PQERRORS_DEFAULT);
  PQsetnonblocking(conn.get(), 0);
  std::unique_ptr<Connection> connection(new Connection(conn.release()));
  if (!options.users_settings) RETURN_IF_ERROR(connection->Exec(kPinMoreSql).status());
  return connection;
}

absl::Status Connection::RequirePipeline(bool wanted, absl::string_view action) const {
  const bool in_pipeline = PQpipelineStatus(conn_) != PQ_PIPELINE_OFF;
  if (in_pipeline == wanted) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("cannot ", action, wanted ? " outside of pipeline mode" : " in pipeline mode"));
}

absl::StatusOr<Result> Connection::Exec(const std::string& sql) {
  RETURN_IF_ERROR(RequirePipeline(false, "run a simple query"));
  Result result(PQexec(conn_, sql.c_str()));
  if (IsCopy(result.get())) {
    AbandonCopy(conn_, PQresultStatus(result.get()));
    return absl::InvalidArgumentError(absl::StrCat(Describe(sql), ": it is a COPY; use CopyIn()"));
  }
  if (IsError(result.get())) return ErrorStatus(Describe(sql), result.get(), conn_);
  return result;
}

absl::StatusOr<Result> Connection::ExecParams(const std::string& sql,
                                              absl::Span<const Param> params, bool binary_result) {
  RETURN_IF_ERROR(RequirePipeline(false, "run a query"));
  RETURN_IF_ERROR(ParamArrays::Check(params, Describe(sql)));
  const ParamArrays arrays(params);
  Result result(PQexecParams(conn_, sql.c_str(), arrays.count(), arrays.types(), arrays.values(),
                             arrays.lengths(), arrays.formats(), binary_result ? 1 : 0));
  if (IsCopy(result.get())) {
    AbandonCopy(conn_, PQresultStatus(result.get()));
    return absl::InvalidArgumentError(absl::StrCat(Describe(sql), ": it is a COPY; use CopyIn()"));
  }
  if (IsError(result.get())) return ErrorStatus(Describe(sql), result.get(), conn_);
  return result;
}

absl::StatusOr<Result> Connection::ExecKept(const std::string& sql,
                                            absl::Span<const Param> params) {
  RETURN_IF_ERROR(RequirePipeline(false, "run a query"));
  RETURN_IF_ERROR(ParamArrays::Check(params, Describe(sql)));
  auto kept = kept_.find(sql);
  if (kept == kept_.end()) {
    const std::string name = absl::StrCat("kept_", kept_.size());
    const Result prepared(PQprepare(conn_, name.c_str(), sql.c_str(), 0, nullptr));
    if (IsError(prepared.get())) return ErrorStatus(Describe(sql), prepared.get(), conn_);
    kept = kept_.emplace(sql, name).first;
  }
  const ParamArrays arrays(params);
  Result result(PQexecPrepared(conn_, kept->second.c_str(), arrays.count(), arrays.values(),
                               arrays.lengths(), arrays.formats(), /*resultFormat=*/0));
  if (IsError(result.get())) return ErrorStatus(Describe(sql), result.get(), conn_);
  return result;
}

absl::StatusOr<std::string> Connection::QueryValue(const std::string& sql,
                                                   absl::Span<const Param> params) {
  ASSIGN_OR_RETURN(const Result result, ExecParams(sql, params));
  if (result.rows() == 0) return absl::NotFoundError(absl::StrCat(Describe(sql), ": no row"));
  if (result.rows() > 1 || result.columns() != 1) {
    return absl::InternalError(absl::StrCat(Describe(sql), ": ", result.rows(), " rows of ",
                                            result.columns(), " columns instead of one value"));
  }
  return std::string(result.value(0, 0));
}

absl::Status Connection::EnterPipeline() {
  RETURN_IF_ERROR(RequirePipeline(false, "enter pipeline mode"));
  if (broken()) return ErrorStatus("cannot enter pipeline mode", nullptr, conn_);
  // Non-blocking, because a blocking send could wait for a server that itself waits for us to read
  // the results of what came before.
  if (PQenterPipelineMode(conn_) != 1 || PQsetnonblocking(conn_, 1) != 0) {
    return ErrorStatus("cannot enter pipeline mode", nullptr, conn_);
  }
  return absl::OkStatus();
}

absl::Status Connection::ExitPipeline() {
  if (!pending_.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("cannot leave pipeline mode while ",
                                                      pending_.size(), " results are not read"));
  }
  if (separator_due_) {
    // A statement was queued and read without a Sync(); libpq would refuse.
    return absl::FailedPreconditionError("cannot leave pipeline mode without Sync()");
  }
  if (PQexitPipelineMode(conn_) != 1 || PQsetnonblocking(conn_, 0) != 0) {
    return ErrorStatus("cannot leave pipeline mode", nullptr, conn_);
  }
  return absl::OkStatus();
}

absl::Status Connection::Queued(int sent, std::string what, bool is_sync) {
  if (sent != 1) return ErrorStatus(what, nullptr, conn_);
  pending_.push_back({.what = std::move(what), .is_sync = is_sync});
  return absl::OkStatus();
}

absl::Status Connection::QueuePrepare(const std::string& name, const std::string& sql,
                                      absl::Span<const uint32_t> type_oids) {
  RETURN_IF_ERROR(RequirePipeline(true, "queue a statement"));
  static_assert(sizeof(Oid) == sizeof(uint32_t));
  const int sent = PQsendPrepare(conn_, name.c_str(), sql.c_str(),
                                 static_cast<int>(type_oids.size()), type_oids.data());
  return Queued(sent, Describe(sql), false);
}

absl::Status Connection::QueuePrepared(const std::string& name, absl::Span<const Param> params,
                                       bool binary_result) {
  RETURN_IF_ERROR(RequirePipeline(true, "queue a statement"));
  std::string what = absl::StrCat("cannot run prepared statement \"", name, "\"");
  RETURN_IF_ERROR(ParamArrays::Check(params, what));
  const ParamArrays arrays(params);
  const int sent = PQsendQueryPrepared(conn_, name.c_str(), arrays.count(), arrays.values(),
                                       arrays.lengths(), arrays.formats(), binary_result ? 1 : 0);
  return Queued(sent, std::move(what), false);
}

absl::Status Connection::QueueParams(const std::string& sql, absl::Span<const Param> params,
                                     bool binary_result) {
  RETURN_IF_ERROR(RequirePipeline(true, "queue a statement"));
  RETURN_IF_ERROR(ParamArrays::Check(params, Describe(sql)));
  const ParamArrays arrays(params);
  const int sent =
      PQsendQueryParams(conn_, sql.c_str(), arrays.count(), arrays.types(), arrays.values(),
                        arrays.lengths(), arrays.formats(), binary_result ? 1 : 0);
  return Queued(sent, Describe(sql), false);
}

absl::Status Connection::Sync() {
  RETURN_IF_ERROR(RequirePipeline(true, "sync"));
  return Queued(PQpipelineSync(conn_), "cannot sync the pipeline", true);
}

absl::Status Connection::AwaitResult(absl::Time deadline) {
  // Most results of a batch arrive together: no system call for those that are here already.
  if (PQisBusy(conn_) == 0) return absl::OkStatus();
  while (true) {
    // Read first: PQisBusy() parses only what has been read.
    if (PQconsumeInput(conn_) != 1) return ErrorStatus("cannot read results", nullptr, conn_);
    const int unsent = PQflush(conn_);
    if (unsent < 0) return ErrorStatus("cannot send statements", nullptr, conn_);
    if (PQisBusy(conn_) == 0) return absl::OkStatus();
    const short events = static_cast<short>(unsent == 0 ? POLLIN : POLLIN | POLLOUT);
    if (!PollSocket(conn_, events, deadline)) {
      return absl::DeadlineExceededError("PostgreSQL has not answered in time");
    }
  }
}

absl::StatusOr<Result> Connection::Next(absl::Duration timeout) {
  RETURN_IF_ERROR(RequirePipeline(true, "read a queued result"));
  if (pending_.empty()) {
    return absl::FailedPreconditionError("cannot read a result: nothing is queued");
  }
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    // libpq hands out what it has already read of a broken connection (the server's last words).
    const absl::Status ready = AwaitResult(deadline);
    if (absl::IsDeadlineExceeded(ready)) return ready;
    Result result(PQgetResult(conn_));
    if (result.get() == nullptr) {
      if (!ready.ok()) return ready;
      if (broken()) return ErrorStatus(pending_.front().what, nullptr, conn_);
      if (!separator_due_) {
        return absl::InternalError(
            absl::StrCat(pending_.front().what, ": the pipeline is out of step"));
      }
      separator_due_ = false;
      continue;
    }
    const ExecStatusType status = PQresultStatus(result.get());
    if (separator_due_ && status != PGRES_FATAL_ERROR) {
      return absl::InternalError(absl::StrCat(
          pending_.front().what, ": the statement before it gave more than one result"));
    }
    const Pending front = std::move(pending_.front());
    pending_.pop_front();
    if (status == PGRES_PIPELINE_SYNC) {
      // The one result that no NULL follows.
      if (front.is_sync) return Result();
      return absl::InternalError(absl::StrCat(front.what, ": the pipeline is out of step"));
    }
    separator_due_ = true;
    if (status == PGRES_PIPELINE_ABORTED) {
      return absl::AbortedError(
          absl::StrCat(front.what, ": skipped because a statement before it failed"));
    }
    if (IsCopy(result.get())) {
      return absl::InternalError(absl::StrCat(front.what, ": COPY cannot run in a pipeline"));
    }
    if (IsError(result.get())) return ErrorStatus(front.what, result.get(), conn_);
    return result;
  }
}

absl::Status Connection::CopyIn(const std::string& sql, absl::string_view data) {
  RETURN_IF_ERROR(RequirePipeline(false, "copy"));
  const Result start(PQexec(conn_, sql.c_str()));
  if (PQresultStatus(start.get()) != PGRES_COPY_IN) {
    if (IsCopy(start.get())) AbandonCopy(conn_, PQresultStatus(start.get()));
    if (IsError(start.get()) && !IsCopy(start.get())) {
      return ErrorStatus(Describe(sql), start.get(), conn_);
    }
    return absl::InvalidArgumentError(absl::StrCat(Describe(sql), ": not a COPY ... FROM STDIN"));
  }
  constexpr size_t kChunk = 1 << 20;
  bool sent = true;
  for (size_t at = 0; sent && at < data.size(); at += kChunk) {
    const absl::string_view chunk = data.substr(at, kChunk);
    sent = PQputCopyData(conn_, chunk.data(), static_cast<int>(chunk.size())) == 1;
  }
  sent = sent && PQputCopyEnd(conn_, nullptr) == 1;
  if (!sent && broken()) return ErrorStatus(Describe(sql), nullptr, conn_);
  absl::Status status = sent ? absl::OkStatus() : ErrorStatus(Describe(sql), nullptr, conn_);
  while (PGresult* next = PQgetResult(conn_)) {
    const Result result(next);
    if (status.ok() && IsError(next)) status = ErrorStatus(Describe(sql), next, conn_);
    if (IsCopy(next)) break;  // only of a connection that is broken
  }
  return status;
}

void Connection::Cancel() {
  char error[256];
  // That the request was not delivered shows in what it should have cancelled: it goes on.
  if (cancel_ != nullptr) PQcancel(cancel_, error, sizeof(error));
}

int Connection::server_version() const { return PQserverVersion(conn_); }
int Connection::backend_pid() const { return PQbackendPID(conn_); }
bool Connection::broken() const { return PQstatus(conn_) == CONNECTION_BAD; }

std::string QuoteIdentifier(absl::string_view identifier) {
  return absl::StrCat("\"", absl::StrReplaceAll(identifier, {{"\"", "\"\""}}), "\"");
}

std::string QuoteLiteral(absl::string_view literal) {
  const bool escapes = absl::StrContains(literal, '\\');
  return absl::StrCat(escapes ? "E'" : "'",
                      absl::StrReplaceAll(literal, {{"'", "''"}, {"\\", "\\\\"}}), "'");
}

}  // namespace bdr::postgres
