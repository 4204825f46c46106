// A connection to PostgreSQL through libpq, with errors as absl::Status.
//
// Not thread-safe: one owner at a time. Cancel() alone may be called from any thread.
//
// SQLSTATE to code: 40001 and 40P01 kAborted (repeat the transaction); 57P01..57P05, class 08 and a
// broken socket kUnavailable (connect again); 57014 kCancelled; 42501 kPermissionDenied; class 22,
// 23 and 42 kFailedPrecondition; class 53 kResourceExhausted; 55006 (object in use) and 55P03
// kUnavailable; everything else kInternal. The SQLSTATE is also attached as a payload, see
// Sqlstate(). The message names what was tried, PostgreSQL's message, and its detail and hint. It
// never holds parameters' values or the password.
#pragma once

#include <libpq-fe.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace bdr::postgres {

// The five characters, "" if the status does not come from PostgreSQL.
std::string Sqlstate(const absl::Status& status);

// The rows of one statement. Owns the PGresult.
class Result {
 public:
  Result() = default;
  explicit Result(PGresult* result) : result_(result, &PQclear) {}

  int rows() const { return result_ ? PQntuples(result_.get()) : 0; }
  int columns() const { return result_ ? PQnfields(result_.get()) : 0; }
  bool is_null(int row, int column) const { return PQgetisnull(result_.get(), row, column) != 0; }
  // Valid while this Result lives. Empty for NULL.
  absl::string_view value(int row, int column) const {
    return {PQgetvalue(result_.get(), row, column),
            static_cast<size_t>(PQgetlength(result_.get(), row, column))};
  }
  // Rows written by INSERT, UPDATE, DELETE, COPY; 0 otherwise.
  int64_t affected() const;
  PGresult* get() const { return result_.get(); }

 private:
  std::unique_ptr<PGresult, void (*)(PGresult*)> result_{nullptr, &PQclear};
};

// One parameter. `data` unset is SQL NULL. Type 0 lets PostgreSQL infer it.
struct Param {
  std::optional<absl::string_view> data;
  bool binary = false;
  uint32_t type_oid = 0;
};

struct ConnectOptions {
  std::string conninfo;          // libpq keywords or URI
  std::string application_name;  // shown in pg_stat_activity
  bool replication = false;      // adds replication=database
  // Leaves the session to what role and database default to: it stands for a user's.
  bool users_settings = false;
  absl::Duration timeout = absl::Seconds(10);
};

class Connection {
 public:
  // The session has the same settings whatever role, database and server default to, wherever that
  // could end it or change what it reads, writes or means (kPins in the .cc): no timeouts, only
  // pg_catalog on the search_path, UTC, ISO. A session that needs others sets them itself.
  //
  // kUnavailable if the server cannot be reached or refuses for now; kPermissionDenied or
  // kFailedPrecondition if repeating cannot help. The message names host, port, database and user,
  // never the password.
  static absl::StatusOr<std::unique_ptr<Connection>> Connect(const ConnectOptions& options);

  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Runs one or more statements without parameters (simple query protocol); the last result.
  absl::StatusOr<Result> Exec(const std::string& sql);
  // Runs one statement with parameters; results as text, or binary if asked.
  absl::StatusOr<Result> ExecParams(const std::string& sql, absl::Span<const Param> params,
                                    bool binary_result = false);
  // The same, planned at its first use in this session: for what is asked often and never differs
  // but in its parameters, as each text stays in the session.
  absl::StatusOr<Result> ExecKept(const std::string& sql, absl::Span<const Param> params);
  // The single value of a single row; kNotFound without a row.
  absl::StatusOr<std::string> QueryValue(const std::string& sql,
                                         absl::Span<const Param> params = {});

  // Pipeline mode (PostgreSQL manual, "Pipeline Mode"). Queue statements, then Sync(); then Next()
  // once for each queued statement in order, and once for the sync, which gives a Result without
  // rows. After an error every Next() up to the sync returns kAborted with Sqlstate "" (skipped);
  // the sync then reports OK. `name` must have been prepared in this session.
  absl::Status EnterPipeline();
  absl::Status ExitPipeline();  // kFailedPrecondition while results are pending
  absl::Status QueuePrepare(const std::string& name, const std::string& sql,
                            absl::Span<const uint32_t> type_oids);
  absl::Status QueuePrepared(const std::string& name, absl::Span<const Param> params,
                             bool binary_result = false);
  absl::Status QueueParams(const std::string& sql, absl::Span<const Param> params,
                           bool binary_result = false);
  absl::Status Sync();
  // Waits for the next result in order. kDeadlineExceeded leaves the connection usable only for
  // more Next() calls, or for Cancel().
  absl::StatusOr<Result> Next(absl::Duration timeout = absl::InfiniteDuration());

  // COPY ... FROM STDIN / TO STDOUT, outside of pipeline mode.
  absl::Status CopyIn(const std::string& sql, absl::string_view data);

  // Asks the server to cancel what runs; from any thread.
  void Cancel();

  int server_version() const;  // as PQserverVersion: 150020
  int backend_pid() const;
  bool broken() const;  // the socket is gone: connect again
  PGconn* raw() { return conn_; }

 private:
  explicit Connection(PGconn* conn);
  absl::Status RequirePipeline(bool wanted, absl::string_view action) const;
  absl::Status Queued(int sent, std::string what, bool is_sync);
  // Waits until PQgetResult() will not block; sends what is still queued meanwhile.
  absl::Status AwaitResult(absl::Time deadline);

  std::map<std::string, std::string> kept_;  // names of ExecKept()'s statements, by text

  // What Next() still owes an answer for.
  struct Pending {
    std::string what;  // for error messages
    bool is_sync = false;
  };

  PGconn* conn_;
  PGcancel* cancel_;
  std::deque<Pending> pending_;
  // libpq ends the results of each statement with a NULL, which is read with the next result.
  bool separator_due_ = false;
};

// The status of a result that is an error, or of the connection if there is no result. `what` says
// what was tried. For code in postgres/ that calls libpq itself.
absl::Status ErrorStatus(absl::string_view what, const PGresult* result, PGconn* conn);

// Quotes for SQL text, like quote_ident() and quote_literal(); identifiers are quoted even where
// they need not be.
std::string QuoteIdentifier(absl::string_view identifier);
std::string QuoteLiteral(absl::string_view literal);

}  // namespace bdr::postgres
