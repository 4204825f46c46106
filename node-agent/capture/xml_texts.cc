#include "node-agent/capture/xml_texts.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/logging.h"
#include "base/status_macros.h"

namespace bdr::agent {
namespace {

constexpr absl::Duration kUntilSeen = absl::Seconds(1);
constexpr absl::Duration kBetweenLooks = absl::Milliseconds(2);

}  // namespace

absl::Status XmlTexts::Connect() {
  if (connection_ != nullptr && !connection_->broken()) return absl::OkStatus();
  ASSIGN_OR_RETURN(connection_, postgres::Connection::Connect(options_));
  return connection_
      ->Exec("SET row_security = off; SET lock_timeout = '1s'; SET statement_timeout = '10s'")
      .status();
}

// A commit is decoded as soon as it is in the WAL: others see it a moment later, or, where it has
// to wait for a standby, much later.
absl::Status XmlTexts::WaitUntilSeen(uint32_t xid) {
  if (xid == seen_xid_) return absl::OkStatus();
  const absl::Time deadline = absl::Now() + kUntilSeen;
  while (true) {
    ASSIGN_OR_RETURN(
        const std::string ends,
        connection_->QueryValue("SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype "
                                "= 'transactionid' AND granted AND transactionid = $1::xid)",
                                {{.data = absl::StrCat(xid)}}));
    if (ends == "t") break;
    if (absl::Now() > deadline) {
      LogWarning("capture", {{"xid", absl::StrCat(xid)}},
                 "a committed transaction is not visible to others yet (does it wait for a "
                 "standby?): declarations of its XML values may be missing elsewhere");
      break;
    }
    absl::SleepFor(kBetweenLooks);
  }
  seen_xid_ = xid;
  return absl::OkStatus();
}

absl::Status XmlTexts::Read(uint32_t xid, absl::Span<Value> values) {
  if (values.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(Connect());
  RETURN_IF_ERROR(WaitUntilSeen(xid));
  const ColumnMap* refused = nullptr;  // said once, and not waited for again
  for (Value& value : values) {
    if (value.columns == refused) continue;
    absl::StatusOr<std::string> text = ReadOne(value);
    if (absl::IsUnavailable(text.status())) return text.status();
    if (text.ok()) {
      value.text = *std::move(text);
    } else if (!absl::IsNotFound(text.status())) {
      refused = value.columns;
      LogWarning("capture", {{"relation", value.columns->table().DisplayName()}},
                 absl::StrCat("declarations of XML values may be missing elsewhere, as their rows "
                              "could not be read: ",
                              text.status().message()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> XmlTexts::ReadOne(const Value& value) {
  const postgres::TableInfo& table = value.columns->table();
  const int column = value.columns->local_of_remote()[value.column];
  if (column < 0) return absl::NotFoundError("the column is gone");
  std::vector<std::string> bytes(table.key.size());
  std::vector<postgres::Param> params;
  for (size_t i = 0; i < table.key.size(); ++i) {
    const int local = table.key[i];
    const auto remote = static_cast<size_t>(value.columns->remote_of_local()[local]);
    std::string kept;
    ASSIGN_OR_RETURN(const postgres::ColumnValue key,
                     value.columns->Convert(remote, value.row->columns[remote], &kept));
    ASSIGN_OR_RETURN(const postgres::Param param, KeyParam(table.columns[local], key, &bytes[i]));
    params.push_back(param);
  }
  params.push_back({.data = value.text});
  const std::string name = absl::StrCat(
      "t.", postgres::QuoteIdentifier(table.columns[static_cast<size_t>(column)].name));
  return connection_->QueryValue(
      absl::StrCat("SELECT (", name, ")::pg_catalog.text FROM ", table.kind == 'r' ? "ONLY " : "",
                   table.QualifiedName(), " AS t WHERE ", KeyCondition(table, table.key),
                   " AND pg_catalog.format('%s', ", name, ") OPERATOR(pg_catalog.=) $",
                   params.size(), "::pg_catalog.text COLLATE pg_catalog.\"C\""),
      params);
}

}  // namespace bdr::agent
