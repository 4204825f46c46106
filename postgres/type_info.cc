#include "postgres/type_info.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "postgres/builtin_types.h"
#include "postgres/letter_case.h"

namespace bdr::postgres {
namespace {

// "True" arrays have PostgreSQL's own subscripting function; point, name and the like have an
// element type too, but no OIDs in their binary form.
constexpr char kTypesSql[] = R"(
SELECT t.oid, n.nspname, t.typname, t.typtype,
       t.typbasetype,
       CASE WHEN t.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc
            THEN t.typelem ELSE 0::pg_catalog.oid END,
       COALESCE(r.rngsubtype, m.rngtypid, 0::pg_catalog.oid),
       t.typsend <> 0::pg_catalog.oid AND t.typreceive <> 0::pg_catalog.oid,
       CASE WHEN t.typtype = 'c' THEN pg_catalog.array_to_string(ARRAY(
              SELECT a.atttypid FROM pg_catalog.pg_attribute a
               WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
               ORDER BY a.attnum), ',') ELSE '' END,
       t.typtypmod,
       NOT EXISTS (
         SELECT FROM pg_catalog.pg_attribute a
           JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
          WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0
            AND NOT a.attisdropped AND NOT l.collisdeterministic)
       AND COALESCE((SELECT l.collisdeterministic FROM pg_catalog.pg_collation l
                      WHERE l.oid = r.rngcollation), true)
       AND COALESCE((SELECT o.opcdefault OR o.opcname LIKE '%\_pattern\_ops'
                       FROM pg_catalog.pg_opclass o WHERE o.oid = r.rngsubopc), true),
       CASE WHEN t.typtype = 'c' THEN (
         SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
            AND a.attnum <= (
                SELECT pg_catalog.max(o.attnum) FROM pg_catalog.pg_attribute o
                 WHERE o.attrelid = t.typrelid AND o.attnum > 0 AND NOT o.attisdropped
                   AND o.xmin = (SELECT f.xmin FROM pg_catalog.pg_attribute f
                                  WHERE f.attrelid = t.typrelid AND f.attnum = 1))) ELSE 0 END,
       COALESCE((SELECT e.extname FROM pg_catalog.pg_depend d
                   JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
                  WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid
                    AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
                    AND d.deptype = 'e'), '')
  FROM pg_catalog.pg_type t
  JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
  LEFT JOIN pg_catalog.pg_range m ON m.rngmultitypid = t.oid
 WHERE t.oid = ANY ($1::pg_catalog.oid[]))";

// One row of pg_type.
struct TypeRow {
  uint32_t oid = 0;
  std::string schema;
  std::string name;
  char typtype = 'b';
  uint32_t base = 0;      // of a domain: what it stands on
  int32_t modifier = -1;  // likewise: of that
  uint32_t element = 0;   // of an array
  uint32_t part = 0;      // of a range its subtype, of a multirange its range
  bool has_binary = true;
  std::vector<uint32_t> fields;  // of a composite
  uint32_t first_fields = 0;     // those that share the xmin of the first
  bool parts_compare_plainly = true;
  std::string extension;

  std::vector<uint32_t> Parts() const {
    std::vector<uint32_t> parts = fields;
    for (const uint32_t oid_of_part : {base, element, part}) {
      if (oid_of_part != 0) parts.push_back(oid_of_part);
    }
    return parts;
  }
};

absl::StatusOr<uint32_t> ParseOid(absl::string_view text) {
  uint32_t oid = 0;
  if (!absl::SimpleAtoi(text, &oid)) {
    return absl::InternalError(absl::StrCat("pg_type gave \"", text, "\" for an OID"));
  }
  return oid;
}

absl::StatusOr<TypeRow> ParseRow(const Result& result, int row) {
  TypeRow type;
  ASSIGN_OR_RETURN(type.oid, ParseOid(result.value(row, 0)));
  type.schema = std::string(result.value(row, 1));
  type.name = std::string(result.value(row, 2));
  type.typtype = result.value(row, 3).empty() ? 'b' : result.value(row, 3)[0];
  ASSIGN_OR_RETURN(type.base, ParseOid(result.value(row, 4)));
  ASSIGN_OR_RETURN(type.element, ParseOid(result.value(row, 5)));
  ASSIGN_OR_RETURN(type.part, ParseOid(result.value(row, 6)));
  type.has_binary = result.value(row, 7) == "t";
  for (const absl::string_view field :
       absl::StrSplit(result.value(row, 8), ',', absl::SkipEmpty())) {
    ASSIGN_OR_RETURN(const uint32_t oid, ParseOid(field));
    type.fields.push_back(oid);
  }
  if (!absl::SimpleAtoi(result.value(row, 9), &type.modifier)) {
    return absl::InternalError("pg_type gave no number for a modifier");
  }
  type.parts_compare_plainly = result.value(row, 10) == "t";
  ASSIGN_OR_RETURN(type.first_fields, ParseOid(result.value(row, 11)));
  type.extension = std::string(result.value(row, 12));
  return type;
}

using RowMap = absl::flat_hash_map<uint32_t, TypeRow>;

// All rows that the types need, level by level.
absl::StatusOr<RowMap> LoadRows(Connection& connection, std::vector<uint32_t> wanted) {
  RowMap rows;
  while (!wanted.empty()) {
    const std::string oids = absl::StrCat("{", absl::StrJoin(wanted, ","), "}");
    ASSIGN_OR_RETURN(const Result result, connection.ExecKept(kTypesSql, {Param{.data = oids}}));
    std::vector<uint32_t> parts;
    for (int row = 0; row < result.rows(); ++row) {
      ASSIGN_OR_RETURN(TypeRow type, ParseRow(result, row));
      for (const uint32_t part : type.Parts()) parts.push_back(part);
      rows.emplace(type.oid, std::move(type));
    }
    wanted.clear();
    for (const uint32_t part : parts) {
      if (!rows.contains(part)) wanted.push_back(part);
    }
    // A type that is missing would be asked for for ever; Build() names it.
    if (result.rows() == 0) break;
  }
  return rows;
}

TypeInfo::Kind KindOf(const TypeRow& row) {
  switch (row.typtype) {
    case 'e':
      return TypeInfo::Kind::kEnum;
    case 'c':
      return TypeInfo::Kind::kComposite;
    case 'r':
      return TypeInfo::Kind::kRange;
    case 'm':
      return TypeInfo::Kind::kMultirange;
    default:
      return row.element != 0 ? TypeInfo::Kind::kArray : TypeInfo::Kind::kPlain;
  }
}

// A type whose binary form another server takes for another value, or for none.
bool MeansAnotherElsewhere(uint32_t oid) {
  switch (oid) {
    // OIDs of the sender's catalog.
    case builtin::kRegproc:
    case builtin::kRegprocedure:
    case builtin::kRegoper:
    case builtin::kRegoperator:
    case builtin::kRegclass:
    case builtin::kRegtype:
    case builtin::kRegconfig:
    case builtin::kRegdictionary:
    case builtin::kRegnamespace:
    case builtin::kRegrole:
    case builtin::kRegcollation:
    // An empty one is refused.
    case builtin::kTsquery:
    case builtin::kInt2vector:
    case builtin::kOidvector:
    // What an encoding that it still declares says of its bytes is no longer true.
    case builtin::kXml:
      return true;
    default:
      return false;
  }
}

bool IsCitext(const TypeRow& row) { return row.name == "citext" && row.extension == "citext"; }

class TypeBuilder {
 public:
  TypeBuilder(const RowMap& rows, std::shared_ptr<const LetterCase> letter_case)
      : rows_(rows), letter_case_(std::move(letter_case)) {}

  // PostgreSQL lets no type contain itself, so the recursion ends.
  absl::StatusOr<std::shared_ptr<const TypeInfo>> Build(uint32_t oid) {
    if (const auto built = built_.find(oid); built != built_.end()) return built->second;
    ASSIGN_OR_RETURN(const TypeRow* row, Find(oid));
    auto info = std::make_shared<TypeInfo>();
    info->oid = row->oid;
    info->schema = row->schema;
    info->name = row->name;
    while (row->typtype == 'd') {
      info->base_modifier = row->modifier;
      ASSIGN_OR_RETURN(row, Find(row->base));
    }
    info->base_oid = row->oid;
    info->base_schema = row->schema;
    info->base_name = row->name;
    info->kind = KindOf(*row);
    info->receives = row->has_binary;
    info->has_binary = row->has_binary && !MeansAnotherElsewhere(row->oid);
    info->first_fields = row->first_fields;
    info->parts_compare_plainly = row->parts_compare_plainly;
    info->extension = row->extension;
    if (IsCitext(*row)) info->letter_case = letter_case_;
    const uint32_t element = row->element != 0 ? row->element : row->part;
    if (element != 0 && info->kind != TypeInfo::Kind::kPlain) {
      ASSIGN_OR_RETURN(info->element, Build(element));
      info->receives = info->receives && info->element->receives;
      info->has_binary = info->has_binary && info->element->has_binary;
    }
    for (const uint32_t field_oid : row->fields) {
      ASSIGN_OR_RETURN(std::shared_ptr<const TypeInfo> field, Build(field_oid));
      info->receives = info->receives && field->receives;
      info->has_binary = info->has_binary && field->has_binary;
      info->fields.push_back(std::move(field));
    }
    built_[oid] = info;
    return std::shared_ptr<const TypeInfo>(info);
  }

  TypeMap Take() { return std::move(built_); }

 private:
  absl::StatusOr<const TypeRow*> Find(uint32_t oid) const {
    const auto row = rows_.find(oid);
    if (row != rows_.end()) return &row->second;
    return absl::FailedPreconditionError(
        absl::StrCat("the type with OID ", oid, " does not exist; was it dropped just now?"));
  }

  const RowMap& rows_;
  const std::shared_ptr<const LetterCase> letter_case_;
  TypeMap built_;
};

bool IsUnstable(const TypeInfo& type) { return type.oid >= builtin::kFirstUnstableOid; }

}  // namespace

bool TypeInfo::carries_user_oids() const {
  switch (kind) {
    case Kind::kPlain:
    case Kind::kEnum:  // sent as its label
      return false;
    case Kind::kRange:
    case Kind::kMultirange:  // name no type themselves
      return element->carries_user_oids();
    case Kind::kArray:
      return IsUnstable(*element) || element->carries_user_oids();
    case Kind::kComposite:
      return true;
  }
  return false;
}

absl::StatusOr<TypeMap> LoadTypes(Connection& connection, const std::vector<uint32_t>& oids) {
  ASSIGN_OR_RETURN(const RowMap rows, LoadRows(connection, oids));
  std::shared_ptr<const LetterCase> letter_case;
  if (std::any_of(rows.begin(), rows.end(), [](const auto& row) { return IsCitext(row.second); })) {
    ASSIGN_OR_RETURN(letter_case, LoadLetterCase(connection));
  }
  TypeBuilder builder(rows, std::move(letter_case));
  for (const uint32_t oid : oids) RETURN_IF_ERROR(builder.Build(oid).status());
  return builder.Take();
}

}  // namespace bdr::postgres
