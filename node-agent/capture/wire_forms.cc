#include "node-agent/capture/wire_forms.h"

#include <algorithm>
#include <map>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "node-agent/capture/tuple_bytes.h"
#include "postgres/builtin_types.h"
#include "postgres/type_names.h"
#include "postgres/value_form.h"
#include "postgres/wire.h"

namespace bdr::agent {
namespace {

using postgres::ColumnKind;
using postgres::ColumnValue;
using postgres::TypeInfo;

// Values for one statement: as many as it may have, and not more than fit well in memory.
constexpr size_t kValuesPerStatement = 500;
constexpr size_t kBytesPerStatement = 4 << 20;

// What its own receive function refuses, though its text is plain: a query without any node, a
// vector without any element.
bool IsEmpty(const TypeInfo& type, const ColumnValue& value) {
  switch (type.base_oid) {
    case postgres::builtin::kTsquery:
      return value.data == absl::string_view("\0\0\0\0", 4);
    case postgres::builtin::kInt2vector:
    case postgres::builtin::kOidvector: {
      // Dimensions, flags, element type, then length and lower bound of the one dimension.
      postgres::WireReader reader(value.data);
      const int32_t dimensions = reader.Int32();
      reader.Bytes(4 + 4);
      return dimensions == 0 || (reader.Int32() == 0 && reader.ok());
    }
    default:
      return false;
  }
}

// Sent as the same bytes in either form. An enum's label may have another name by now: to ask for
// it would find none.
bool LooksTheSame(const TypeInfo& type) {
  return type.kind == TypeInfo::Kind::kEnum || type.base_oid == postgres::builtin::kText ||
         type.base_oid == postgres::builtin::kVarchar;
}

// The change's rows, to be changed in place.
std::vector<postgres::Tuple*> RowsOf(postgres::Message* message) {
  if (auto* insert = std::get_if<postgres::InsertMessage>(message)) return {&insert->row};
  if (auto* erase = std::get_if<postgres::DeleteMessage>(message)) return {&erase->old_row};
  auto* update = std::get_if<postgres::UpdateMessage>(message);
  if (update == nullptr) return {};
  if (update->old_kind == 0) return {&update->row};
  return {&update->old_row, &update->row};
}

// Kind and relation, then each row behind a byte that says which it is: that of a second one is
// 'N'. (PostgreSQL manual, "Logical Replication Message Formats".)
std::string Written(absl::string_view bytes, const std::vector<postgres::Tuple*>& rows) {
  constexpr size_t kBeforeRows = 1 + 4;
  std::string out(bytes.substr(0, kBeforeRows));
  for (size_t i = 0; i < rows.size(); ++i) {
    out.push_back(i == 0 ? bytes[kBeforeRows] : 'N');
    AppendTuple(&out, *rows[i]);
  }
  return out;
}

// The server answered that it cannot: another form of the value may do.
bool IsRefusal(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) || absl::IsInternal(status) ||
         absl::IsInvalidArgument(status) || absl::IsPermissionDenied(status);
}

}  // namespace

absl::Status WireForms::Connect() {
  if (connection_ != nullptr && !connection_->broken()) return absl::OkStatus();
  ASSIGN_OR_RETURN(connection_, postgres::Connection::Connect(options_));
  // To read or write a composite takes a lock on it, which a user's ALTER TYPE may hold back.
  return connection_->Exec("SET lock_timeout = '1s'").status();
}

// The server is asked once for all types that are not known for good; one by one only where it says
// that one of them is gone, to tell which. Of these the form stays unknown. The others' form
// depends on each other: whether rows go column by column.
absl::StatusOr<ColumnForms> WireForms::Describe(const postgres::RelationMessage& relation) {
  ColumnForms forms;
  postgres::TypeMap found;
  std::vector<uint32_t> unknown;
  for (const postgres::RelationColumn& column : relation.columns) {
    if (!builtin_.contains(column.type_oid)) unknown.push_back(column.type_oid);
  }
  if (!unknown.empty()) {
    RETURN_IF_ERROR(Connect());
    absl::StatusOr<postgres::TypeMap> types = postgres::LoadTypes(*connection_, unknown);
    if (types.ok()) {
      found = *std::move(types);
    } else if (absl::IsFailedPrecondition(types.status())) {  // one of them is gone
      for (const uint32_t oid : unknown) {
        absl::StatusOr<postgres::TypeMap> one = postgres::LoadTypes(*connection_, {oid});
        if (one.ok()) {
          found.insert(one->begin(), one->end());
        } else if (!absl::IsFailedPrecondition(one.status())) {
          return one.status();
        }
      }
    } else {
      return types.status();
    }
    for (const auto& [oid, type] : found) {
      if (oid < postgres::builtin::kFirstUnstableOid) builtin_.emplace(oid, type);
    }
  }
  std::vector<const TypeInfo*> known;
  for (const postgres::RelationColumn& column : relation.columns) {
    const auto builtin = builtin_.find(column.type_oid);
    const auto user = found.find(column.type_oid);
    forms.types.push_back(builtin != builtin_.end() ? builtin->second
                          : user != found.end()     ? user->second
                                                    : nullptr);
    if (forms.types.back() != nullptr) known.push_back(forms.types.back().get());
  }
  const bool by_column = postgres::TravelsByColumn(known);
  for (const std::shared_ptr<const TypeInfo>& type : forms.types) {
    forms.binary.push_back(type == nullptr || postgres::TravelsInBinary(*type, by_column));
    forms.any_text = forms.any_text || !forms.binary.back();
    forms.any_gone = forms.any_gone || type == nullptr;
  }
  return forms;
}

// All changes are decoded first, and each value either takes its form at once, or becomes a job, or
// is one of XML; then the server is asked for all jobs together, to text before to binary, and for
// each type apart, as a statement's columns have one type. XML comes last, as it is read in the row
// itself, which may wait. Only when every value has its form are changes written anew: an error
// leaves no change half converted that anybody could use.
absl::Status WireForms::Convert(uint32_t xid, absl::Span<Change> changes) {
  std::vector<postgres::Message> messages;
  messages.reserve(changes.size());  // jobs point into them
  std::vector<std::unique_ptr<Job>> jobs;
  std::vector<bool> changed(changes.size(), false);
  std::vector<Job*> to_text;
  std::map<uint32_t, std::vector<Job*>> to_binary;  // by type
  std::vector<XmlTexts::Value> xml;
  std::vector<ColumnValue*> xml_values;
  for (size_t i = 0; i < changes.size(); ++i) {
    ASSIGN_OR_RETURN(postgres::Message decoded, postgres::Decode(changes[i].bytes));
    messages.push_back(std::move(decoded));
    const ColumnForms& forms = changes[i].relation->forms;
    const std::vector<postgres::Tuple*> rows = RowsOf(&messages.back());
    const bool stands = !std::holds_alternative<postgres::DeleteMessage>(messages.back());
    for (postgres::Tuple* row : rows) {
      for (size_t c = 0; c < row->columns.size() && c < forms.types.size(); ++c) {
        ColumnValue& value = row->columns[c];
        const ColumnKind wanted = forms.binary[c] ? ColumnKind::kBinary : ColumnKind::kText;
        if (!HasData(value) || forms.types[c] == nullptr) continue;
        if (forms.types[c]->base_oid == postgres::builtin::kXml) {
          value.kind = ColumnKind::kText;  // in binary it is the same text
          changed[i] = true;
          const std::optional<ColumnMap>& columns = changes[i].relation->columns;
          if (row != rows.back() || !stands || !columns.has_value()) continue;
          xml.push_back(
              {.columns = &*columns, .row = row, .column = c, .text = std::string(value.data)});
          xml_values.push_back(&value);
          continue;
        }
        if (value.kind == wanted) continue;
        changed[i] = true;
        if (LooksTheSame(*forms.types[c])) {
          value.kind = wanted;
          continue;
        }
        if (wanted == ColumnKind::kText && IsEmpty(*forms.types[c], value)) {
          value = {.kind = ColumnKind::kText, .data = ""};
          continue;
        }
        jobs.push_back(std::make_unique<Job>(Job{.value = &value,
                                                 .type = forms.types[c].get(),
                                                 .relation = changes[i].relation,
                                                 .column = c,
                                                 .result = {}}));
        Job* const job = jobs.back().get();
        (wanted == ColumnKind::kText ? to_text : to_binary[job->type->oid]).push_back(job);
      }
    }
  }
  RETURN_IF_ERROR(Run(to_text, /*to_text=*/true));
  for (const auto& [oid, of_type] : to_binary) RETURN_IF_ERROR(Run(of_type, /*to_text=*/false));
  for (const std::unique_ptr<Job>& job : jobs) {
    const bool was_text = job->value->kind == ColumnKind::kText;
    *job->value = {.kind = was_text ? ColumnKind::kBinary : ColumnKind::kText, .data = job->result};
  }
  RETURN_IF_ERROR(xml_texts_.Read(xid, absl::MakeSpan(xml)));
  for (size_t i = 0; i < xml.size(); ++i) xml_values[i]->data = xml[i].text;
  for (size_t i = 0; i < changes.size(); ++i) {
    changes[i].converted.reset();
    if (!changed[i]) continue;
    changes[i].converted = Written(changes[i].bytes, RowsOf(&messages[i]));
  }
  return absl::OkStatus();
}

absl::Status WireForms::Run(absl::Span<Job* const> jobs, bool to_text) {
  while (!jobs.empty()) {
    size_t count = 0;
    size_t bytes = 0;
    while (count < jobs.size() && count < kValuesPerStatement &&
           (count == 0 || bytes + jobs[count]->value->data.size() <= kBytesPerStatement)) {
      bytes += jobs[count++]->value->data.size();
    }
    const absl::Span<Job* const> some = jobs.subspan(0, count);
    absl::Status status = Ask(some, to_text);
    // Which one is it?
    for (size_t i = 0; i < some.size() && IsRefusal(status); ++i) {
      const absl::Status one = Ask(some.subspan(i, 1), to_text);
      if (one.ok()) continue;
      if (!IsRefusal(one)) return one;
      const postgres::RelationMessage& relation = some[i]->relation->message;
      return absl::FailedPreconditionError(absl::StrCat(
          "a value of column \"", relation.columns[some[i]->column].name, "\" of table \"",
          relation.schema, ".", relation.name, "\" cannot be sent: PostgreSQL does not turn it ",
          to_text ? "into text" : "from text into the binary form", " of type ",
          postgres::TypeNameForPeople(*some[i]->type), ": ", one.message()));
    }
    RETURN_IF_ERROR(status);
    jobs.remove_prefix(count);
  }
  return absl::OkStatus();
}

// One row for each value, in their order.
absl::Status WireForms::Ask(absl::Span<Job* const> jobs, bool to_text) {
  RETURN_IF_ERROR(Connect());
  std::string sql = "VALUES ";
  std::vector<postgres::Param> params;
  for (Job* const job : jobs) {
    // Of a domain the type it stands on: what it checks was checked when the value was written.
    const std::string value = absl::StrCat("$", params.size() + 1,
                                           "::", postgres::QuoteIdentifier(job->type->base_schema),
                                           ".", postgres::QuoteIdentifier(job->type->base_name));
    absl::StrAppend(&sql, params.empty() ? "(" : ", (",
                    to_text ? postgres::TextOfSql(*job->type, value) : value, ")");
    params.push_back({.data = job->value->data, .binary = to_text});
  }
  ASSIGN_OR_RETURN(const postgres::Result result,
                   connection_->ExecParams(sql, params, /*binary_result=*/!to_text));
  if (result.rows() != static_cast<int>(jobs.size())) {
    return absl::InternalError("PostgreSQL gave another number of values than it was given");
  }
  for (size_t i = 0; i < jobs.size(); ++i) {
    const int row = static_cast<int>(i);
    if (result.is_null(row, 0)) {
      return absl::InternalError("PostgreSQL turned a value into null");
    }
    jobs[i]->result = std::string(result.value(row, 0));
  }
  return absl::OkStatus();
}

}  // namespace bdr::agent
