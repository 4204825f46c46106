// Gives each captured value the form in which values of its type travel, before anything is stored:
// blocks, versions and claims know that one form alone.
//
// PostgreSQL sends a value in binary where its type has a send function, and as text elsewhere.
// That is not always the form that it is to travel in (postgres/value_form.h): an OID of the local
// catalog must become a name. And a stream without `binary`, which is the way past a value that
// cannot be sent in binary at all, holds texts alone. The local server converts both ways, by the
// types' own functions.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "node-agent/capture/captured_relation.h"
#include "node-agent/capture/xml_texts.h"
#include "postgres/connection.h"
#include "postgres/type_info.h"

namespace bdr::agent {

// Not thread-safe: belongs to capture. Owns a connection of its own, opened when it is needed.
class WireForms {
 public:
  // A change of a row; `relation->forms` are set.
  struct Change {
    const CapturedRelation* relation = nullptr;
    absl::string_view bytes;               // pgoutput's message, outside of a stream
    std::optional<std::string> converted;  // the same with values in their forms, if it needs to be
  };

  explicit WireForms(const postgres::ConnectOptions& options)
      : options_(options), xml_texts_(options) {}

  // kUnavailable if the server cannot be asked.
  absl::StatusOr<ColumnForms> Describe(const postgres::RelationMessage& relation);

  // Sets `converted` of those that need it, which one committed transaction has written. A value
  // whose type is gone stays as it came: nothing knows its form any more. Errors, which name column
  // and type, leave `changes` undefined; kFailedPrecondition if PostgreSQL refuses a value,
  // kUnavailable and the like if it cannot be asked.
  absl::Status Convert(uint32_t xid, absl::Span<Change> changes);

 private:
  // A value that is to take the other form.
  struct Job {
    postgres::ColumnValue* value = nullptr;
    const postgres::TypeInfo* type = nullptr;
    const CapturedRelation* relation = nullptr;
    size_t column = 0;
    std::string result;
  };
  absl::Status Connect();
  absl::Status Run(absl::Span<Job* const> jobs, bool to_text);
  absl::Status Ask(absl::Span<Job* const> jobs, bool to_text);

  const postgres::ConnectOptions options_;
  std::unique_ptr<postgres::Connection> connection_;
  postgres::TypeMap builtin_;  // these never change
  XmlTexts xml_texts_;
};

}  // namespace bdr::agent
