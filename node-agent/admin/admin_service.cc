#include "node-agent/admin/admin_service.h"

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/grpc_status.h"
#include "base/status_macros.h"
#include "bdr/v1/admin.grpc.pb.h"
#include "node-agent/admin/conflict_queries.h"
#include "node-agent/admin/conflict_undo.h"
#include "node-agent/admin/dead_letter_queries.h"
#include "node-agent/admin/key_order.h"
#include "node-agent/admin/table_hash.h"
#include "node-agent/admin/table_rows.h"
#include "node-agent/tables/row_sql.h"
#include "node-agent/tables/sql_workers.h"
#include "postgres/catalog.h"
#include "postgres/setup/check_policy.h"
#include "postgres/setup/node_check.h"

namespace bdr::agent {
namespace {

// By the planner's statistics, of all partitions together; 0 if there are none.
absl::StatusOr<int64_t> EstimatedRows(postgres::Connection& connection, uint32_t oid) {
  const std::string text = absl::StrCat(oid);
  const postgres::Param params[] = {{.data = text}};
  ASSIGN_OR_RETURN(
      const std::string rows,
      connection.QueryValue("SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class"
                            " WHERE (oid = $1::oid AND relkind = 'r') OR (relkind = 'r' AND oid IN"
                            " (SELECT relid FROM pg_partition_tree($1::oid::regclass)))",
                            params));
  ASSIGN_OR_RETURN(const uint64_t count, ToUint64(rows));
  return static_cast<int64_t>(count);
}

Pace PaceOf(const v1::Pace& pace) {
  return {.rows_per_second = pace.rows_per_second(), .load_percent = pace.load_percent()};
}

absl::Status ListTables(postgres::Connection& connection, v1::ListTablesResponse* response) {
  ASSIGN_OR_RETURN(const auto tables, postgres::PublishedTables(connection));
  for (const auto& [schema, name] : tables) {
    const auto table = postgres::LoadTable(connection, schema, name);
    if (absl::IsNotFound(table.status())) continue;  // dropped in between
    RETURN_IF_ERROR(table.status());
    v1::ListTablesResponse::Table* out = response->add_tables();
    out->set_schema(schema);
    out->set_name(name);
    out->set_has_key(table->has_key);
    ASSIGN_OR_RETURN(*out->mutable_key_order(), KeyOrder(connection, *table));
    for (const int column : table->key) out->add_key_columns(table->columns[column].name);
    for (std::string& column : HashedColumns(*table)) out->add_columns(std::move(column));
    ASSIGN_OR_RETURN(const int64_t rows, EstimatedRows(connection, table->oid));
    out->set_estimated_rows(rows);
  }
  return absl::OkStatus();
}

absl::Status AnswerHashTable(postgres::Connection& connection, const v1::HashTableRequest& request,
                             v1::HashTableResponse* response) {
  ASSIGN_OR_RETURN(const std::vector<BucketHash> buckets,
                   HashTable(connection, request.schema(), request.name(), request.buckets(),
                             PaceOf(request.pace())));
  uint64_t rows = 0;
  for (const BucketHash& bucket : buckets) {
    response->add_bucket_hash(bucket.hash);
    response->add_bucket_rows(bucket.rows);
    rows += bucket.rows;
  }
  response->set_rows(rows);
  return absl::OkStatus();
}

absl::Status AnswerHashRows(postgres::Connection& connection, const v1::HashRowsRequest& request,
                            v1::HashRowsResponse* response) {
  std::vector<uint32_t> wanted = {request.bucket()};
  wanted.insert(wanted.end(), request.more().begin(), request.more().end());
  ASSIGN_OR_RETURN(std::vector<RowHash> rows,
                   HashRows(connection, request.schema(), request.name(), request.buckets(), wanted,
                            PaceOf(request.pace())));
  for (RowHash& row : rows) {
    v1::HashRowsResponse::Row* out = response->add_rows();
    out->set_key(std::move(row.key));
    out->set_hash(row.hash);
    for (std::string& column : row.columns) out->mutable_columns()->add_column(std::move(column));
  }
  return absl::OkStatus();
}

template <typename Response>
void AddFinding(const pg_setup::Finding& finding, absl::string_view about, Response* response) {
  v1::CheckNodeResponse::Finding* out = response->add_findings();
  out->set_level(static_cast<v1::CheckNodeResponse::Finding::Level>(finding.level));
  out->set_what(absl::StrCat(about, finding.what));
  out->set_remedy(finding.remedy);
}

absl::Status AnswerPolicy(postgres::Connection& connection, const v1::CheckPolicyRequest& request,
                          v1::CheckPolicyResponse* response) {
  pg_setup::PolicyWish wish{.schema = request.schema(),
                            .table = request.name(),
                            .policy = request.policy().policy(),
                            .columns = {},
                            .function = request.policy().function()};
  wish.columns.assign(request.policy().columns().begin(), request.policy().columns().end());
  ASSIGN_OR_RETURN(const auto findings, pg_setup::CheckPolicy(connection, wish));
  for (const pg_setup::Finding& finding : findings) AddFinding(finding, "", response);
  return absl::OkStatus();
}

// What a policy needed when it was set may have gone since.
absl::Status AnswerCheck(postgres::Connection& connection,
                         const std::vector<pg_setup::PolicyWish>& policies,
                         v1::CheckNodeResponse* response) {
  ASSIGN_OR_RETURN(const auto findings, pg_setup::CheckNode(connection));
  for (const pg_setup::Finding& finding : findings) AddFinding(finding, "", response);
  for (const pg_setup::PolicyWish& policy : policies) {
    ASSIGN_OR_RETURN(const auto against, pg_setup::CheckPolicy(connection, policy));
    const std::string about = absl::StrCat("policy ", policy.policy, " of table \"", policy.schema,
                                           ".", policy.table, "\" does not work: ");
    for (const pg_setup::Finding& finding : against) AddFinding(finding, about, response);
  }
  return absl::OkStatus();
}

absl::StatusOr<NodeId> ToNodeId(uint32_t node) {
  if (node <= kMaxNodeId) return static_cast<NodeId>(node);
  return absl::InvalidArgumentError(
      absl::StrCat("there is no node ", node, ": ids go from 1 to ", kMaxNodeId));
}

}  // namespace

struct AdminService::Impl : public v1::AgentAdmin::CallbackService {
  Impl(AgentBackend* b, AdminOptions options)
      : backend(b), workers(std::move(options.database), options.workers) {}

  grpc::ServerUnaryReactor* GetNodeStatus(grpc::CallbackServerContext* context,
                                          const v1::GetNodeStatusRequest*,
                                          v1::GetNodeStatusResponse* response) override {
    backend->FillStatus(response->mutable_status());
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerUnaryReactor* GetPosition(grpc::CallbackServerContext* context,
                                        const v1::GetPositionRequest*,
                                        v1::GetPositionResponse* response) override {
    const absl::Time deadline = absl::FromChrono(context->deadline());
    return Queue(context, [this, deadline, response](postgres::Connection&) {
      return backend->FillPosition(deadline, response);
    });
  }

  grpc::ServerUnaryReactor* RetryApply(grpc::CallbackServerContext* context,
                                       const v1::RetryApplyRequest* request,
                                       v1::RetryApplyResponse* response) override {
    // Not queued: it must also work while PostgreSQL cannot be reached.
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpcStatus(Retry(*request, response)));
    return reactor;
  }

  grpc::ServerUnaryReactor* ListConflicts(grpc::CallbackServerContext* context,
                                          const v1::ListConflictsRequest* request,
                                          v1::ListConflictsResponse* response) override {
    return Queue(context, [request, response](postgres::Connection& connection) {
      return agent::ListConflicts(connection, *request, response);
    });
  }

  grpc::ServerUnaryReactor* GetConflict(grpc::CallbackServerContext* context,
                                        const v1::GetConflictRequest* request,
                                        v1::GetConflictResponse* response) override {
    return Queue(context, [request, response](postgres::Connection& connection) {
      return agent::GetConflict(connection, request->id(), response->mutable_conflict());
    });
  }

  grpc::ServerUnaryReactor* UndoConflict(grpc::CallbackServerContext* context,
                                         const v1::UndoConflictRequest* request,
                                         v1::UndoConflictResponse* response) override {
    return Queue(context, [this, request, response](postgres::Connection& connection) {
      RETURN_IF_ERROR(backend->OwnsDatabase());
      return agent::UndoConflict(connection, *request, response);
    });
  }

  grpc::ServerUnaryReactor* ListTables(grpc::CallbackServerContext* context,
                                       const v1::ListTablesRequest*,
                                       v1::ListTablesResponse* response) override {
    return Queue(context, [response](postgres::Connection& connection) {
      return agent::ListTables(connection, response);
    });
  }

  grpc::ServerUnaryReactor* HashTable(grpc::CallbackServerContext* context,
                                      const v1::HashTableRequest* request,
                                      v1::HashTableResponse* response) override {
    return Queue(context, [request, response](postgres::Connection& connection) {
      return AnswerHashTable(connection, *request, response);
    });
  }

  grpc::ServerUnaryReactor* HashRows(grpc::CallbackServerContext* context,
                                     const v1::HashRowsRequest* request,
                                     v1::HashRowsResponse* response) override {
    return Queue(context, [request, response](postgres::Connection& connection) {
      return AnswerHashRows(connection, *request, response);
    });
  }

  grpc::ServerUnaryReactor* FindKey(grpc::CallbackServerContext* context,
                                    const v1::FindKeyRequest* request,
                                    v1::FindKeyResponse* response) override {
    return Queue(context, [request, response](postgres::Connection& connection) {
      return agent::FindKey(connection, *request, response);
    });
  }

  grpc::ServerUnaryReactor* HashRange(grpc::CallbackServerContext* context,
                                      const v1::HashRangeRequest* request,
                                      v1::HashRangeResponse* response) override {
    return Queue(context, [request, response](postgres::Connection& connection) {
      return agent::HashRange(connection, *request, response);
    });
  }

  grpc::ServerUnaryReactor* ReadRows(grpc::CallbackServerContext* context,
                                     const v1::ReadRowsRequest* request,
                                     v1::ReadRowsResponse* response) override {
    return Queue(context, [request, response](postgres::Connection& connection) {
      return agent::ReadRows(connection, *request, response);
    });
  }

  grpc::ServerUnaryReactor* ExportRows(grpc::CallbackServerContext* context,
                                       const v1::ExportRowsRequest* request,
                                       v1::ExportRowsResponse* response) override {
    return Queue(context, [this, request, response](postgres::Connection& connection) {
      return backend->ExportRows(connection, *request, response);
    });
  }

  grpc::ServerUnaryReactor* RepairRows(grpc::CallbackServerContext* context,
                                       const v1::RepairRowsRequest* request,
                                       v1::RepairRowsResponse* response) override {
    return Queue(context, [this, request, response](postgres::Connection&) {
      return backend->RepairRows(*request, response);
    });
  }

  grpc::ServerUnaryReactor* ListDeadLetters(grpc::CallbackServerContext* context,
                                            const v1::ListDeadLettersRequest*,
                                            v1::ListDeadLettersResponse* response) override {
    return Queue(context, [response](postgres::Connection& connection) {
      return agent::ListDeadLetters(connection, response);
    });
  }

  grpc::ServerUnaryReactor* RetryDeadLetter(grpc::CallbackServerContext* context,
                                            const v1::DeadLetterRequest* request,
                                            v1::DeadLetterResponse*) override {
    const absl::Time deadline = absl::FromChrono(context->deadline()) - absl::Milliseconds(500);
    return Queue(context, [this, deadline, request](postgres::Connection&) {
      return backend->RetryDeadLetter(request->id(), deadline);
    });
  }

  grpc::ServerUnaryReactor* DropDeadLetter(grpc::CallbackServerContext* context,
                                           const v1::DeadLetterRequest* request,
                                           v1::DeadLetterResponse*) override {
    return Queue(context, [this, request](postgres::Connection& connection) {
      RETURN_IF_ERROR(backend->OwnsDatabase());
      const absl::Status dropped = agent::DropDeadLetter(connection, request->id());
      // Also one that a crash of PostgreSQL took from the table before its commit was flushed.
      if (dropped.ok() || absl::IsNotFound(dropped)) backend->DeadLetterDropped(request->id());
      return dropped;
    });
  }

  grpc::ServerUnaryReactor* CheckNode(grpc::CallbackServerContext* context,
                                      const v1::CheckNodeRequest*,
                                      v1::CheckNodeResponse* response) override {
    return Queue(context, [this, response](postgres::Connection& connection) {
      RETURN_IF_ERROR(AnswerCheck(connection, backend->TablePolicies(), response));
      for (const pg_setup::Finding& finding : backend->SchemaFindings()) {
        AddFinding(finding, "", response);
      }
      return absl::OkStatus();
    });
  }

  grpc::ServerUnaryReactor* CheckPolicy(grpc::CallbackServerContext* context,
                                        const v1::CheckPolicyRequest* request,
                                        v1::CheckPolicyResponse* response) override {
    return Queue(context, [request, response](postgres::Connection& connection) {
      return AnswerPolicy(connection, *request, response);
    });
  }

  grpc::ServerUnaryReactor* SkipUndecodable(grpc::CallbackServerContext* context,
                                            const v1::SkipUndecodableRequest* request,
                                            v1::SkipUndecodableResponse* response) override {
    const absl::Time deadline = absl::FromChrono(context->deadline()) - absl::Milliseconds(500);
    return Queue(context, [this, context, deadline, request, response](postgres::Connection&) {
      return backend->SkipUndecodable(
          deadline, [context] { return context->IsCancelled(); }, *request, response);
    });
  }

  grpc::ServerUnaryReactor* CloseGaps(grpc::CallbackServerContext* context,
                                      const v1::CloseGapsRequest* request,
                                      v1::CloseGapsResponse* response) override {
    return Queue(context, [this, request, response](postgres::Connection&) {
      return backend->CloseGaps(*request, response);
    });
  }

  // Runs `work` on a worker and finishes the call with what it gives. gRPC keeps request and
  // response until then.
  grpc::ServerUnaryReactor* Queue(grpc::CallbackServerContext* context,
                                  std::function<absl::Status(postgres::Connection&)> work) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    workers.Submit({.run = std::move(work),
                    .done = [reactor](absl::Status s) { reactor->Finish(ToGrpcStatus(s)); },
                    .deadline = absl::FromChrono(context->deadline())});
    return reactor;
  }

  absl::Status Retry(const v1::RetryApplyRequest& request, v1::RetryApplyResponse* response) {
    ASSIGN_OR_RETURN(const NodeId node, ToNodeId(request.node()));
    ASSIGN_OR_RETURN(const std::vector<NodeId> nodes, backend->RetryApply(node));
    for (const NodeId stopped : nodes) response->add_nodes(stopped);
    return absl::OkStatus();
  }

  AgentBackend* const backend;
  SqlWorkers workers;
};

AdminService::AdminService(AgentBackend* backend, AdminOptions options)
    : impl_(std::make_unique<Impl>(backend, std::move(options))) {}
AdminService::~AdminService() = default;
grpc::Service* AdminService::service() { return impl_.get(); }
void AdminService::Stop() { impl_->workers.Stop(); }

}  // namespace bdr::agent
