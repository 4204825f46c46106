// XML values as they stand in their rows.
//
// PostgreSQL keeps an XML value as the text that was given, and a cast to text shows that; but both
// its send and its output function leave the declaration out (`<?xml version="1.0"?>`, with
// whatever encoding it names). So what capture gets is not what users read at home, and only the
// row itself still has it. It is read there by its key; what stands there counts if it is, but for
// the declaration, what was captured. Else the row was changed since, which brings the value again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "node-agent/tables/column_map.h"
#include "postgres/connection.h"
#include "postgres/pgoutput.h"

namespace bdr::agent {

// Not thread-safe: belongs to capture. Owns a connection of its own, opened when it is needed.
class XmlTexts {
 public:
  struct Value {
    const ColumnMap* columns = nullptr;
    const postgres::Tuple* row = nullptr;  // by the message's columns, values in their forms
    size_t column = 0;                     // of the message
    std::string text;                      // as PostgreSQL sent it; then as it stands in the row
  };

  explicit XmlTexts(postgres::ConnectOptions options) : options_(std::move(options)) {}

  // `xid` is of the committed transaction that wrote the values. Waits up to a second until others
  // see its rows, and as long for each table that somebody has locked; whatever cannot be read
  // stays as it was sent, with a warning. kUnavailable if the server cannot be asked.
  absl::Status Read(uint32_t xid, absl::Span<Value> values);

 private:
  absl::Status Connect();
  absl::Status WaitUntilSeen(uint32_t xid);
  absl::StatusOr<std::string> ReadOne(const Value& value);

  const postgres::ConnectOptions options_;
  std::unique_ptr<postgres::Connection> connection_;
  uint32_t seen_xid_ = 0;  // the last one that was waited for
};

}  // namespace bdr::agent
