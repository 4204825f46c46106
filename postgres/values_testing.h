// Types and values in PostgreSQL's binary form, for tests.
#pragma once

#include <bit>
#include <cstdint>
#include <string>

#include "postgres/catalog.h"
#include "postgres/wire.h"

namespace bdr::postgres {

inline TypeInfo PlainType(uint32_t oid) {
  TypeInfo type;
  type.oid = type.base_oid = oid;
  type.schema = "pg_catalog";
  type.name = "t";
  return type;
}

template <typename Int>
std::string BinaryInt(Int value) {
  std::string out;
  AppendNumber<Int>(&out, value);
  return out;
}

inline std::string BinaryFloat4(float value) { return BinaryInt(std::bit_cast<uint32_t>(value)); }
inline std::string BinaryFloat8(double value) { return BinaryInt(std::bit_cast<uint64_t>(value)); }

}  // namespace bdr::postgres
