#include "node-agent/rows/row_service.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/grpc_status.h"
#include "base/peer_identity.h"
#include "base/status_macros.h"
#include "bdr/v1/rows.grpc.pb.h"
#include "node-agent/apply/plan/row_source.h"
#include "node-agent/tables/column_map.h"
#include "node-agent/tables/published_table.h"
#include "node-agent/tables/sql_workers.h"
#include "postgres/catalog.h"
#include "postgres/owners_code.h"
#include "postgres/value_form.h"

namespace bdr::agent {
namespace {

using conflict::Stamp;
using conflict::Version;
using postgres::ColumnKind;

constexpr size_t kAnswerBytes = 8 << 20;
constexpr int kMostRows = 1000;
constexpr absl::Duration kTimeout = absl::Seconds(60);
constexpr absl::Duration kBarrierTimeout = absl::Seconds(10);

// A request bound to the local table.
struct Bound {
  std::shared_ptr<const postgres::TableInfo> table;
  std::vector<int> key;      // indexes into the table's columns
  std::vector<int> columns;  // likewise
  std::optional<ColumnMap> map;
  std::string sql;
};

absl::StatusOr<int> FindColumn(const postgres::TableInfo& table, const std::string& name) {
  for (size_t i = 0; i < table.columns.size(); ++i) {
    if (table.columns[i].name == name) return static_cast<int>(i);
  }
  return absl::NotFoundError(
      absl::StrCat("table \"", table.DisplayName(), "\" has no column \"", name, "\" here"));
}

std::string SelectSql(const Bound& bound) {
  const postgres::TableInfo& table = *bound.table;
  std::string sql = "SELECT ";
  for (const int column : bound.columns) {
    const postgres::ColumnInfo& info = table.columns[column];
    const std::string value = absl::StrCat("t.", postgres::QuoteIdentifier(info.name));
    absl::StrAppend(&sql, info.binary ? value : postgres::TextOfSql(*info.type, value), ", ");
  }
  absl::StrAppend(
      &sql,
      "(EXTRACT(epoch FROM c.time) * 1000000)::pg_catalog.int8::pg_catalog.text, (SELECT "
      "o.roname::pg_catalog.text FROM pg_catalog.pg_replication_origin o WHERE o.roident = "
      "c.roident) FROM ",
      table.kind == 'r' ? "ONLY " : "", table.QualifiedName(),
      " AS t CROSS JOIN LATERAL pg_catalog.pg_xact_commit_timestamp_origin(t.xmin) AS c(time, "
      "roident) WHERE ");
  return sql + KeyCondition(table, bound.key);
}

absl::StatusOr<Bound> Bind(const v1::FetchRowsRequest& request, TableCache* tables) {
  Bound bound;
  ASSIGN_OR_RETURN(bound.table, tables->Find(request.schema(), request.table()));
  // Keys are given as values of the columns' types.
  RETURN_IF_ERROR(postgres::MayRunCode(*bound.table));
  const postgres::TableInfo& table = *bound.table;
  RETURN_IF_ERROR(CheckPublished(table));
  postgres::RelationMessage relation;
  TypeNames types;
  const bool typed = request.key_types_size() == request.key_columns_size();
  for (int i = 0; i < request.key_columns_size(); ++i) {
    const std::string& name = request.key_columns(i);
    ASSIGN_OR_RETURN(const int column, FindColumn(table, name));
    bound.key.push_back(column);
    ColumnType type;
    if (typed) {
      const v1::ColumnType& told = request.key_types(i);
      type = {.oid = told.oid(),
              .modifier = told.modifier(),
              .schema = told.schema(),
              .name = told.name()};
    }
    AddColumn(name, type, &relation, &types);
  }
  if (bound.key.size() != table.key.size()) {
    return absl::NotFoundError(
        absl::StrCat("table \"", table.DisplayName(), "\" has another key here"));
  }
  ASSIGN_OR_RETURN(bound.map, ColumnMap::Make(relation, bound.table, /*every_column=*/true, types));
  for (const std::string& name : request.columns()) {
    ASSIGN_OR_RETURN(const int column, FindColumn(table, name));
    bound.columns.push_back(column);
  }
  bound.sql = SelectSql(bound);
  return bound;
}

// A row as it was read, before it is known of which version it is.
struct ReadRow {
  std::string version_key;
  bool there = false;
  std::optional<int64_t> time_us;
  NodeId writer = 0;  // 0: a local commit, or not known
  std::vector<v1::ColumnData> values;
  size_t bytes = 0;
};

// A key as it was asked for, in the types of the local table.
struct BoundKey {
  postgres::Tuple tuple;
  std::vector<std::string> bytes;  // that `params` refer to
  std::vector<postgres::Param> params;
};

absl::StatusOr<BoundKey> BindKey(const Bound& bound, const v1::FetchRowsRequest::Row& wanted) {
  if (static_cast<size_t>(wanted.key_size()) != bound.key.size()) {
    return absl::InvalidArgumentError("a row has another number of key values than key columns");
  }
  BoundKey key;
  key.bytes.resize(bound.key.size());
  for (size_t i = 0; i < bound.key.size(); ++i) {
    const v1::ColumnData& value = wanted.key(static_cast<int>(i));
    const bool binary = value.kind_case() == v1::ColumnData::kBinary;
    if (!binary && value.kind_case() != v1::ColumnData::kText) {
      return absl::InvalidArgumentError("a key value is null");
    }
    key.tuple.columns.push_back({.kind = binary ? ColumnKind::kBinary : ColumnKind::kText,
                                 .data = binary ? value.binary() : value.text()});
    std::string kept;
    ASSIGN_OR_RETURN(const postgres::ColumnValue here,
                     bound.map->Convert(i, key.tuple.columns.back(), &kept));
    ASSIGN_OR_RETURN(const postgres::Param param,
                     KeyParam(bound.table->columns[bound.key[i]], here, &key.bytes[i]));
    key.params.push_back(param);
  }
  return key;
}

void TakeValues(const postgres::Result& result, const Bound& bound, ReadRow* row) {
  for (size_t i = 0; i < bound.columns.size(); ++i) {
    const int place = static_cast<int>(i);
    v1::ColumnData& out = row->values.emplace_back();
    if (result.is_null(0, place)) {
      out.set_null(true);
    } else if (bound.table->columns[bound.columns[i]].binary) {
      out.set_binary(std::string(result.value(0, place)));
    } else {
      out.set_text(std::string(result.value(0, place)));
    }
    row->bytes += result.value(0, place).size();
  }
}

absl::StatusOr<ReadRow> Read(postgres::Connection& connection, const ServerNames& names,
                             const Bound& bound, const v1::FetchRowsRequest::Row& wanted) {
  ASSIGN_OR_RETURN(const BoundKey bound_key, BindKey(bound, wanted));
  ReadRow row;
  ASSIGN_OR_RETURN(const std::string key, bound.map->Key(bound_key.tuple));
  row.version_key = conflict::VersionKey(bound.table->oid, key);
  ASSIGN_OR_RETURN(const postgres::Result result,
                   connection.ExecParams(bound.sql, bound_key.params, /*binary_result=*/true));
  if (result.rows() == 0) return row;
  row.there = true;
  TakeValues(result, bound, &row);
  const int columns = static_cast<int>(bound.columns.size());
  int64_t time_us = 0;
  if (!result.is_null(0, columns) && absl::SimpleAtoi(result.value(0, columns), &time_us)) {
    row.time_us = time_us;
  }
  if (!result.is_null(0, columns + 1)) {
    const std::optional<OriginId> origin = names.Parse(result.value(0, columns + 1));
    if (origin.has_value()) row.writer = origin->node;
  }
  return row;
}

// What can be said of a row. `newest`: of all that is known of its key.
void Tell(const ReadRow& row, Stamp wanted, const std::optional<Version>& newest,
          v1::FetchedRow* out) {
  Version told = newest.value_or(Version{});
  // What the store has forgotten is older than anything that can still arrive: the row is the
  // version wanted, or was by then.
  if (told.stamp < wanted)
    told = {.stamp = wanted, .origin = {.node = wanted.node, .incarnation = 0}, .end_lsn = Lsn{0}};
  if (row.there) {
    out->set_state(v1::FetchedRow::FOUND);
    for (const v1::ColumnData& value : row.values) *out->add_values() = value;
  } else if (newest.has_value() && newest->dead && newest->stamp >= wanted) {
    out->set_state(v1::FetchedRow::GONE);
  } else {
    return;  // the row is being written, perhaps
  }
  out->set_stamp_us(told.stamp.time_us);
  out->set_stamp_node(told.stamp.node);
  out->set_origin_node(told.origin.node);
  out->set_origin_incarnation(told.origin.incarnation);
  out->set_end_lsn(told.end_lsn.value);
}

// The version is in the store before the row is in the table. So the row must show that it was
// written by that origin, no earlier.
bool IsExactly(const ReadRow& row, Stamp wanted, const std::optional<Version>& newest) {
  return row.there && newest.has_value() && newest->stamp == wanted && !newest->dead &&
         row.writer == wanted.node && row.time_us.has_value() && *row.time_us >= wanted.time_us;
}

void TellTypes(const Bound& bound, v1::FetchRowsResponse* response) {
  for (const int column : bound.columns) {
    const ColumnType type = ColumnTypeOf(bound.table->columns[column]);
    v1::ColumnType* out = response->add_types();
    out->set_oid(type.oid);
    out->set_modifier(type.modifier);
    out->set_schema(type.schema);
    out->set_name(type.name);
  }
}

// Those of the rows wanted that fit into an answer, at least one; the first ones.
absl::StatusOr<std::vector<ReadRow>> ReadRows(postgres::Connection& connection,
                                              const ServerNames& names, const Bound& bound,
                                              const v1::FetchRowsRequest& request) {
  std::vector<ReadRow> rows;
  size_t bytes = 0;
  for (const v1::FetchRowsRequest::Row& wanted : request.rows()) {
    ASSIGN_OR_RETURN(ReadRow row, Read(connection, names, bound, wanted));
    bytes += row.bytes;
    rows.push_back(std::move(row));
    if (bytes > kAnswerBytes) break;
  }
  return rows;
}

// The newest version that a row may be of, by what is known of its key, of the table as a whole,
// and of values that came before their version.
std::optional<Version> NewestOf(const ReadRow& row, const std::optional<Version>& version,
                                const std::optional<Version>& truncate,
                                const std::optional<Version>& disputed) {
  std::optional<Version> newest = version;
  if (truncate.has_value() && (!newest.has_value() || truncate->stamp > newest->stamp)) {
    newest = truncate;
  }
  // Values of a later version, which has not come yet.
  const bool later =
      disputed.has_value() && (!newest.has_value() || disputed->stamp > newest->stamp);
  if (later && row.there) newest = disputed;
  return newest;
}

// The rows first, then the barrier, and what is known of them last: what is told of a row must
// never look older than it is.
absl::Status Answer(postgres::Connection& connection, const RowService::Parts& parts,
                    const v1::FetchRowsRequest& request, v1::FetchRowsResponse* response) {
  if (request.rows_size() == 0 || request.rows_size() > kMostRows) {
    return absl::InvalidArgumentError(absl::StrCat("1 to ", kMostRows, " rows may be asked for"));
  }
  ASSIGN_OR_RETURN(const Bound bound, Bind(request, parts.tables));
  TellTypes(bound, response);
  ASSIGN_OR_RETURN(const std::vector<ReadRow> rows,
                   ReadRows(connection, *parts.positions.names, bound, request));
  std::vector<std::string> keys;
  for (const ReadRow& row : rows) keys.push_back(row.version_key);
  // What was just read may have been committed here a moment ago: then the store knows it now. Of
  // what other origins wrote, it knew before.
  if (!request.exact_only()) RETURN_IF_ERROR(parts.in_flight.barrier->Pass(kBarrierTimeout));
  ASSIGN_OR_RETURN(const auto versions, parts.stores.versions->Get(keys));
  ASSIGN_OR_RETURN(const auto disputed, parts.stores.versions->GetDisputed(keys));
  ASSIGN_OR_RETURN(const auto truncate, parts.stores.versions->GetTruncate(bound.table->oid));
  for (size_t i = 0; i < rows.size(); ++i) {
    const v1::FetchRowsRequest::Row& asked = request.rows(static_cast<int>(i));
    const Stamp wanted{.time_us = asked.stamp_us(),
                       .node = static_cast<NodeId>(asked.stamp_node())};
    const std::optional<Version> newest = NewestOf(rows[i], versions[i], truncate, disputed[i]);
    v1::FetchedRow* out = response->add_rows();
    if (request.exact_only() && !IsExactly(rows[i], wanted, newest)) continue;
    Tell(rows[i], wanted, newest, out);
  }
  return absl::OkStatus();
}

}  // namespace

struct RowService::Impl final : public v1::Rows::CallbackService {
  Impl(Options options_in, Parts parts_in)
      : options(std::move(options_in)), parts(parts_in), workers(options.database, /*threads=*/2) {}

  grpc::ServerUnaryReactor* FetchRows(grpc::CallbackServerContext* context,
                                      const v1::FetchRowsRequest* request,
                                      v1::FetchRowsResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    if (const absl::Status may = CheckMember(*context, *request); !may.ok()) {
      reactor->Finish(ToGrpcStatus(may));
      return reactor;
    }
    workers.Submit(
        {.run =
             [this, request, response](postgres::Connection& connection) {
               return Answer(connection, parts, *request, response);
             },
         .done = [reactor](const absl::Status& status) { reactor->Finish(ToGrpcStatus(status)); },
         .deadline = absl::Now() + kTimeout});
    return reactor;
  }

  absl::Status CheckMember(const grpc::CallbackServerContext& context,
                           const v1::FetchRowsRequest& request) const {
    const std::string name =
        request.cluster_id() == options.cluster_id && request.asking_node() <= kMaxNodeId
            ? options.name_of(static_cast<NodeId>(request.asking_node()))
            : "";
    if (name.empty()) {
      return absl::PermissionDeniedError(
          absl::StrCat("node ", request.asking_node(), " is no member of this cluster"));
    }
    ASSIGN_OR_RETURN(const PeerIdentity caller, IdentityOf(*context.auth_context()));
    return CheckSpeaksFor(caller, name);
  }

  const Options options;
  const Parts parts;
  SqlWorkers workers;
};

RowService::RowService(Options options, Parts parts)
    : impl_(std::make_unique<Impl>(std::move(options), parts)) {}

RowService::~RowService() = default;

grpc::Service* RowService::service() { return impl_.get(); }

void RowService::Stop() { impl_->workers.Stop(); }

}  // namespace bdr::agent
