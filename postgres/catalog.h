// What the agent must know of a local table to write to it: columns, key, types.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "postgres/connection.h"

namespace bdr::postgres {

// A type as far as its binary form needs care: arrays and composites carry OIDs of their parts,
// which differ between servers.
struct TypeInfo {
  enum class Kind { kPlain, kEnum, kArray, kComposite, kRange, kMultirange };
  uint32_t oid = 0;       // the type itself, before domains are resolved
  uint32_t base_oid = 0;  // with domains resolved to what they stand on
  std::string schema;
  std::string name;
  Kind kind = Kind::kPlain;  // of the base type
  bool has_binary = true;    // has both a send and a receive function
  // kArray: the element type. kRange: the subtype. kMultirange: the range. Else null.
  std::shared_ptr<const TypeInfo> element;
  // kComposite: its live columns, in order. Else empty.
  std::vector<std::shared_ptr<const TypeInfo>> fields;

  // True if a value may hold OIDs of user types, so that it must go through TranslateBinary().
  bool carries_user_oids() const;
};

struct ColumnInfo {
  std::string name;
  int attnum = 0;
  std::shared_ptr<const TypeInfo> type;
  bool generated = false;        // GENERATED ALWAYS AS (...) STORED: never written
  bool identity_always = false;  // GENERATED ALWAYS AS IDENTITY
  bool not_null = false;
  int key_position = -1;  // 0-based place in the key, -1 if not part of it
  // Equal values have equal bytes, with CanonicalKeyValue() or as they are.
  bool key_canonical = true;
};

struct TableInfo {
  uint32_t oid = 0;
  uint32_t row_type_oid = 0;  // pg_class.reltype; its array type below
  uint32_t row_array_type_oid = 0;
  std::string schema;
  std::string name;
  char kind = 'r';  // pg_class.relkind: r or p
  char replica_identity = 'd';
  bool has_key = false;  // primary key, or the REPLICA IDENTITY USING INDEX
  bool row_security = false;  // would hide rows from the agent's role
  bool published = false;     // in one of our publications
  // Live (not dropped) columns by attnum.
  std::vector<ColumnInfo> columns;
  // Indexes into `columns`, in the order of the key.
  std::vector<int> key;
  // Further unique or exclusion constraints and unique indexes beside the key.
  int other_unique_constraints = 0;
  bool deferrable_unique = false;

  std::string QualifiedName() const;  // quoted, for SQL
  std::string DisplayName() const;    // schema.name, for people
};

// The table named, or kNotFound. Types are looked up once per call and shared between columns.
absl::StatusOr<TableInfo> LoadTable(Connection& connection, absl::string_view schema,
                                    absl::string_view name);

// All tables of our publications ("bdr_keyed", "bdr_insert_only"), partitions by their root.
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> PublishedTables(
    Connection& connection);

// Rewrites the OIDs inside a value in binary form to those of the local type: `value` came from a
// server where the same types have other OIDs. kInvalidArgument if the value does not have the
// type's structure; nothing is read past its end.
absl::StatusOr<std::string> TranslateBinary(const TypeInfo& local_type, absl::string_view value);

// The canonical form of a key value in binary form: values that are equal to PostgreSQL give equal
// bytes (numeric 1.0 and 1.00, -0.0 and 0.0, blank-padded char). Types without one are refused by
// LoadTable's key_canonical and by `node check`.
absl::StatusOr<std::string> CanonicalKeyValue(const TypeInfo& type, absl::string_view value);

}  // namespace bdr::postgres
