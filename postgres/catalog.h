// What the agent must know of a local table to write to it: columns, key, types.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "postgres/connection.h"

namespace bdr::postgres {

// OIDs below this are the same on every server (FirstGenbkiObjectId in PostgreSQL's transam.h).
inline constexpr uint32_t kFirstUserOid = 10000;

class LetterCase;

// A type as far as its binary form needs care: arrays and composites carry OIDs of their parts,
// which differ between servers.
struct TypeInfo {
  enum class Kind { kPlain, kEnum, kArray, kComposite, kRange, kMultirange };
  uint32_t oid = 0;       // the type itself, before domains are resolved
  uint32_t base_oid = 0;  // with domains resolved to what they stand on
  std::string schema;
  std::string name;
  std::string base_schema;
  std::string base_name;
  int32_t base_modifier = -1;  // of a domain: the modifier of what it stands on
  Kind kind = Kind::kPlain;    // of the base type
  // It and all it is made of have both a send and a receive function. Beware: an array or composite
  // with a part that has none makes PostgreSQL's walsender fail, as the array itself claims to have
  // one.
  bool receives = true;
  // Its binary form means the same to every server, and can be read back: it receives, and nothing
  // in it is an OID of the catalog (regclass and the like), or of a type whose receive function
  // refuses what its send function gives (tsquery). Other values travel as text.
  bool has_binary = true;
  // kArray: the element type. kRange: the subtype. kMultirange: the range. Else null.
  std::shared_ptr<const TypeInfo> element;
  // kComposite: its live columns, in order. Else empty.
  std::vector<std::shared_ptr<const TypeInfo>> fields;
  // kComposite: how many of them each value has. Those behind were added after the type was made,
  // and a value from before has none of them. As far as the catalog tells: all, if it was restored.
  size_t first_fields = 0;
  // kComposite, kRange: the parts are compared by their types' own operators, and strings in them
  // under collations by which equal ones have equal bytes.
  bool parts_compare_plainly = true;
  std::string extension;  // that the base type belongs to; empty: none
  // citext: how the server sees letters as the same. Null if that cannot be told.
  std::shared_ptr<const LetterCase> letter_case;

  // True if a value may hold OIDs of user types or composites, whose types may have more attributes
  // here: so that it must go through TranslateBinary().
  bool carries_user_oids() const;
};

struct ColumnInfo {
  std::string name;
  int attnum = 0;
  std::shared_ptr<const TypeInfo> type;
  bool generated = false;        // GENERATED ALWAYS AS (...) STORED: never written
  std::string generated_as;      // and how, as SQL on the other columns; by LoadConstraints()
  bool identity_always = false;  // GENERATED ALWAYS AS IDENTITY
  bool not_null = false;
  bool has_default = false;  // rows that do not name it get something else than null
  // What rows from before the column was added show in it, where PostgreSQL still knows it without
  // having rewritten them (pg_attribute.attmissingval; of a partitioned table, a partition's). In
  // binary form, or as text if the type has none.
  std::optional<std::string> missing = {};
  // The default, likewise, if every row gets the same: a constant, through built-in functions at
  // most.
  std::optional<std::string> constant_default = {};
  // Whether it can be told what rows show in the column that come from before it was added; and
  // what, unset for NULL. A rewrite of the table (VACUUM FULL, ALTER TABLE ... TYPE) makes
  // PostgreSQL forget it; then it is what the default says today.
  bool before_known() const {
    return !generated && (missing.has_value() || constant_default.has_value() || !has_default);
  }
  const std::optional<std::string>& before() const {
    return missing.has_value() ? missing : constant_default;
  }
  int32_t type_modifier = -1;
  // Of the base type, by the column or by its domain.
  int32_t modifier() const {
    return type->oid == type->base_oid ? type_modifier : type->base_modifier;
  }
  int key_position = -1;  // 0-based place in the key, -1 if not part of it
  // Of the key's index if it is part of the key, else of the column: quoted and qualified, for SQL.
  // Empty if the type has none.
  std::string collation;
  // Its values travel in binary form and not as text (TravelsInBinary() of postgres/value_form.h).
  bool binary = true;
  // Of the key's index: OPERATOR(schema.=), since the search path need not have that of a type
  // which is not built in. Empty if the column is not part of the key.
  std::string key_operator;
  // Can be part of a key: equal values have equal bytes with CanonicalKeyValue(), by type, and by
  // the operators and the collation of the key (of the column, if it is not part of the key). What
  // postgres/setup/published_tables_sql.h says in SQL; a test holds the two together.
  bool key_canonical = true;
};

// What at most one row of a table may hold, beside its key: a unique index, or an exclusion
// constraint (where "the same" means that every operator holds between two rows).
struct ConstraintInfo {
  struct Part {
    int column = -1;         // index into TableInfo::columns; -1: an expression
    std::string expression;  // SQL on the table's columns, which it names without their table
    std::string collation;   // quoted and qualified; empty if the type has none
    std::string op;          // OPERATOR(schema.name), true where two rows are the same
    std::string type;        // SQL name of the expression's type; set for kPairwise alone
    // Set for kPairwise alone: two rows are the same only if PostgreSQL hashes the part alike.
    bool hashed = false;
  };
  // How a row's value is told to be the same as another's.
  enum class Form {
    kCanonical,  // plain columns: CanonicalKeyValue() of each
    kHash,       // PostgreSQL's own extended hash of the parts
    kPairwise,   // no form at all: each two values are compared by PostgreSQL
  };
  // Survives a REINDEX, and a restart: made of what the constraint says.
  uint64_t fingerprint = 0;
  std::string name;  // of the index
  Form form = Form::kCanonical;
  bool exclusion = false;
  bool deferrable = false;          // not checked under the replica role
  bool nulls_not_distinct = false;  // else a row with a null part holds nothing
  // Quoted and qualified: the only partition that has it; empty: the whole table.
  std::string partition;
  std::string predicate;  // SQL: rows for which it is not true hold nothing; empty: all do
  // That of the index alone: `predicate` holds the partition's bounds as well, which for a hash
  // partition have an OID in them.
  std::string own_predicate;
  std::vector<Part> parts;
  // All that the index is made of, also what it only includes: indexes into TableInfo::columns.
  std::vector<int> columns;

  // What it says, for people and for comparing it with another node's: the same where the same
  // rows may stand beside each other. Without its name, and whether it is deferrable.
  std::string Meaning() const;
};

struct TableInfo {
  uint32_t oid = 0;
  uint32_t row_type_oid = 0;  // pg_class.reltype; its array type below
  uint32_t row_array_type_oid = 0;
  std::string schema;
  std::string name;
  char kind = 'r';  // pg_class.relkind: r or p
  char replica_identity = 'd';
  // Primary key, or the REPLICA IDENTITY USING INDEX. A deferrable primary key does not count: it
  // cannot serve as replica identity.
  bool has_key = false;
  bool row_security = false;  // would hide rows from the agent's role
  bool published = false;     // in one of our publications
  int natts = 0;              // pg_class.relnatts: grows with each column that is added
  // Live (not dropped) columns by attnum.
  std::vector<ColumnInfo> columns;
  // Indexes into `columns`, in the order of the key.
  std::vector<int> key;
  // Further unique or exclusion constraints and unique indexes beside the key; of a partitioned
  // table also those which only a partition has.
  int other_unique_constraints = 0;
  bool deferrable_unique = false;  // one of them, or the primary key, is DEFERRABLE
  // PostgreSQL refuses INSERT ... ON CONFLICT where there is a rule ON UPDATE, enabled or not, or
  // one ON INSERT that fires: here the name of one that does so under the replica role.
  bool has_update_rule = false;
  std::string insert_rule;
  // Those constraints in full, by LoadConstraints().
  std::vector<ConstraintInfo> constraints;
  // By LoadOwnersCode(): pg_class.relowner; what bdr.code_stamp() gave, "" if only superusers may
  // alter the table; why nobody's rows may be written here, "" if they may.
  uint32_t owner = 0;
  std::string code_stamp;
  std::string untrusted_code;

  std::string QualifiedName() const;  // quoted, for SQL
  std::string DisplayName() const;    // schema.name, for people
};

// The table named, or kNotFound; kFailedPrecondition if the name is a view or the like. Types are
// looked up once per call and shared between columns.
absl::StatusOr<TableInfo> LoadTable(Connection& connection, absl::string_view schema,
                                    absl::string_view name);

// Fills in `table->constraints`; where the table has untrusted code, without those that have
// expressions. Not inside of a transaction: it tries out what the server can do,
// and errors are part of the answer.
absl::Status LoadConstraints(Connection& connection, TableInfo* table);

// All tables of our publications ("bdr_keyed", "bdr_insert_only"), partitions by their root.
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> PublishedTables(
    Connection& connection);

// Rewrites the OIDs inside a value in binary form to those of the local type: `value` came from a
// server where the same types have other OIDs. A composite without the attributes that were added
// to its type since gets nulls for them, as PostgreSQL shows them in rows from before.
// kInvalidArgument if the value does not have the type's structure; kFailedPrecondition if a
// composite has more attributes than its type here, or lacks one that the type always had. Nothing
// is read past its end.
absl::StatusOr<std::string> TranslateBinary(const TypeInfo& local_type, absl::string_view value);

// True if CanonicalKeyValue() knows the type. For strings it holds only under a deterministic
// collation; ColumnInfo::key_canonical has looked at that too.
bool HasCanonicalForm(const TypeInfo& type);
// Types of which equal values may look different (1.0 and 1.00, 0 and -0, 30 days and a month): a
// key of them is written too when its row is, or nodes would differ in what they show.
bool EqualMayLookDifferent(const TypeInfo& type);

// Types whose canonical forms go together: equal values of both have equal bytes, so that a key is
// still found when its column's type was changed from the one to the other.
bool SameCanonicalForm(uint32_t base_oid, uint32_t other_base_oid);

// The canonical form of a key value in binary form: values that are equal to PostgreSQL give equal
// bytes (numeric 1.0 and 1.00, -0.0 and 0.0, blank-padded char). The result names the value and is
// not itself a value to send to PostgreSQL. kInvalidArgument if the value cannot be one of the
// type; kFailedPrecondition for a type without canonical form: those are refused by LoadTable's
// key_canonical and by `node check`.
absl::StatusOr<std::string> CanonicalKeyValue(const TypeInfo& type, absl::string_view value);

}  // namespace bdr::postgres
