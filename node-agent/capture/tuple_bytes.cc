#include "node-agent/capture/tuple_bytes.h"

#include "postgres/wire.h"

namespace bdr::agent {

using postgres::ColumnKind;
using postgres::ColumnValue;

bool HasData(const ColumnValue& value) {
  return value.kind == ColumnKind::kText || value.kind == ColumnKind::kBinary;
}

size_t TupleBytes(const postgres::Tuple& tuple) {
  size_t bytes = 2;
  for (const ColumnValue& value : tuple.columns) {
    bytes += 1 + (HasData(value) ? 4 + value.data.size() : 0);
  }
  return bytes;
}

void AppendTuple(std::string* out, const postgres::Tuple& tuple) {
  postgres::AppendNumber(out, static_cast<uint16_t>(tuple.columns.size()));
  for (const ColumnValue& value : tuple.columns) {
    out->push_back(static_cast<char>(value.kind));
    if (!HasData(value)) continue;
    postgres::AppendNumber(out, static_cast<uint32_t>(value.data.size()));
    out->append(value.data.data(), value.data.size());
  }
}

}  // namespace bdr::agent
