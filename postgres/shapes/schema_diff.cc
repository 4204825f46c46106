#include "postgres/shapes/schema_diff.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "bdr/v1/schema.pb.h"
#include "postgres/connection.h"

namespace bdr::postgres {
namespace {

using Names = google::protobuf::RepeatedPtrField<std::string>;
using Constraints = google::protobuf::RepeatedPtrField<v1::ConstraintShape>;

std::string Qualified(const v1::TableShape& table) {
  return absl::StrCat(QuoteIdentifier(table.schema()), ".", QuoteIdentifier(table.name()));
}

std::string Quoted(const Names& names) {
  return absl::StrJoin(names, ", ", [](std::string* out, const std::string& name) {
    absl::StrAppend(out, QuoteIdentifier(name));
  });
}

// As in CREATE TABLE and ADD COLUMN.
std::string Definition(const v1::ColumnShape& column) {
  std::string text = absl::StrCat(QuoteIdentifier(column.name()), " ", column.type());
  if (!column.collation().empty()) absl::StrAppend(&text, " COLLATE ", column.collation());
  if (!column.generated_as().empty()) {
    absl::StrAppend(&text, " GENERATED ALWAYS AS (", column.generated_as(), ") STORED");
  }
  if (!column.identity().empty()) {
    absl::StrAppend(&text, " GENERATED ", column.identity(), " AS IDENTITY");
  }
  if (!column.default_as().empty()) absl::StrAppend(&text, " DEFAULT ", column.default_as());
  if (column.not_null()) absl::StrAppend(&text, " NOT NULL");
  return text;
}

std::string CreateTable(const v1::TableShape& table) {
  std::vector<std::string> parts;
  for (const v1::ColumnShape& column : table.columns()) parts.push_back(Definition(column));
  if (table.has_primary_key()) parts.push_back(table.primary_key().meaning());
  std::string text =
      absl::StrCat("CREATE TABLE ", Qualified(table), " (", absl::StrJoin(parts, ", "), ")");
  if (!table.partition_by().empty()) {
    absl::StrAppend(&text, " PARTITION BY ", table.partition_by());
  }
  return text;
}

// Whether the column is a plain one, for people.
std::string Origin(const v1::ColumnShape& column) {
  return column.generated_as().empty()
             ? "a plain column"
             : absl::StrCat("GENERATED ALWAYS AS (", column.generated_as(), ")");
}

std::string OrNone(const std::string& text) { return text.empty() ? "none" : text; }

class TableComparison {
 public:
  TableComparison(const v1::TableShape& one, std::string where, const v1::TableShape& other,
                  std::string where_other, std::vector<ShapeDifference>* found)
      : one_(one),
        other_(other),
        where_(std::move(where)),
        where_other_(std::move(where_other)),
        found_(found) {}

  void Run() {
    Columns();
    Key();
    Unique(one_.unique(), other_.unique(), where_, where_other_, /*at_other=*/true);
    Unique(other_.unique(), one_.unique(), where_other_, where_, /*at_other=*/false);
    Checks(one_.checks(), other_.checks(), where_, where_other_, /*at_other=*/true);
    Checks(other_.checks(), one_.checks(), where_other_, where_, /*at_other=*/false);
  }

 private:
  void Add(std::string what, std::string statement, bool at_other, bool matters = true) {
    found_->push_back({.table = absl::StrCat(one_.schema(), ".", one_.name()),
                       .what = std::move(what),
                       .statement = std::move(statement),
                       .at_other = at_other,
                       .matters = matters});
  }
  // "SUBJECT is A here and B on eu1".
  std::string Both(absl::string_view subject, absl::string_view a, absl::string_view b) const {
    return absl::StrCat(subject, " is ", a, " ", where_, " and ", b, " ", where_other_);
  }
  std::string Alter(absl::string_view what) const {
    return absl::StrCat("ALTER TABLE ", Qualified(one_), " ", what);
  }

  void Columns() {
    std::map<absl::string_view, const v1::ColumnShape*> others;
    for (const v1::ColumnShape& column : other_.columns()) others[column.name()] = &column;
    for (const v1::ColumnShape& column : one_.columns()) {
      const auto found = others.find(column.name());
      if (found == others.end()) {
        Missing(column, where_, where_other_, /*at_other=*/true);
      } else {
        Column(column, *found->second);
        others.erase(found);
      }
    }
    for (const v1::ColumnShape& column : other_.columns()) {
      if (others.contains(column.name())) {
        Missing(column, where_other_, where_, /*at_other=*/false);
      }
    }
  }

  void Missing(const v1::ColumnShape& column, absl::string_view there, absl::string_view missing,
               bool at_other) {
    Add(absl::StrCat("column ", column.name(), " is ", there, " and not ", missing),
        Alter(absl::StrCat("ADD COLUMN ", Definition(column))), at_other);
  }

  void Column(const v1::ColumnShape& a, const v1::ColumnShape& b) {
    const std::string subject = absl::StrCat("column ", a.name());
    const std::string alter = absl::StrCat("ALTER COLUMN ", QuoteIdentifier(a.name()), " ");
    if (a.type() != b.type()) {
      Add(Both(subject, a.type(), b.type()), Alter(absl::StrCat(alter, "TYPE ", a.type())), true);
    }
    if (a.type() == b.type() && a.made_of() != b.made_of()) {
      Add(Both(absl::StrCat("type ", a.type(), " of ", subject), OrNone(a.made_of()),
               OrNone(b.made_of())),
          "", true);
    }
    if (a.collation() != b.collation()) {
      Add(Both(absl::StrCat("the collation of ", subject), OrNone(a.collation()),
               OrNone(b.collation())),
          Alter(absl::StrCat(alter, "TYPE ", a.type(), " COLLATE ",
                             a.collation().empty() ? "pg_catalog.\"default\"" : a.collation())),
          true, Identifies(a.name()));
    }
    if (a.generated_as() != b.generated_as()) {
      // Dropping the expression loses nothing. Two expressions have no such way out.
      const bool drop = a.generated_as().empty() || b.generated_as().empty();
      Add(Both(subject, Origin(a), Origin(b)),
          drop ? Alter(absl::StrCat(alter, "DROP EXPRESSION")) : "", a.generated_as().empty());
    }
    if (a.not_null() != b.not_null()) {
      Add(absl::StrCat(subject, " is NOT NULL ", a.not_null() ? where_ : where_other_, " only"),
          Alter(absl::StrCat(alter, "SET NOT NULL")), a.not_null());
    }
    if (a.identity() != b.identity()) {
      const std::string change = a.identity().empty() ? "DROP IDENTITY"
                                 : b.identity().empty()
                                     ? absl::StrCat("ADD GENERATED ", a.identity(), " AS IDENTITY")
                                     : absl::StrCat("SET GENERATED ", a.identity());
      Add(Both(absl::StrCat("the identity of ", subject), OrNone(a.identity()),
               OrNone(b.identity())),
          Alter(absl::StrCat(alter, change)), true, /*matters=*/false);
    }
    if (a.default_as() != b.default_as()) {
      Add(Both(absl::StrCat("the default of ", subject), OrNone(a.default_as()),
               OrNone(b.default_as())),
          Alter(absl::StrCat(alter, a.default_as().empty()
                                        ? "DROP DEFAULT"
                                        : absl::StrCat("SET DEFAULT ", a.default_as()))),
          true, /*matters=*/false);
    }
  }

  // Under another collation other values may be the same.
  bool Identifies(absl::string_view column) const {
    return std::find(one_.key().begin(), one_.key().end(), column) != one_.key().end();
  }

  void Key() {
    const std::string one =
        one_.key().empty() ? "no key" : absl::StrCat("(", Quoted(one_.key()), ")");
    const std::string other =
        other_.key().empty() ? "no key" : absl::StrCat("(", Quoted(other_.key()), ")");
    const bool primary = one_.primary_key().meaning() != other_.primary_key().meaning();
    std::string statement;
    bool at_other = true;
    if (primary) {
      // Whoever has one gives it to who has none.
      at_other = one_.has_primary_key();
      const v1::TableShape& from = at_other ? one_ : other_;
      const v1::TableShape& to = at_other ? other_ : one_;
      statement = Alter(absl::StrCat(
          to.has_primary_key()
              ? absl::StrCat("DROP CONSTRAINT ", QuoteIdentifier(to.primary_key().name()), ", ")
              : "",
          "ADD ", from.primary_key().meaning()));
    }
    const auto kind = [](const v1::TableShape& table) {
      return absl::StartsWith(table.replica_identity(), "USING INDEX") ? "USING INDEX"
                                                                       : table.replica_identity();
    };
    if (kind(one_) != kind(other_)) {
      Add(Both("the replica identity", one_.replica_identity(), other_.replica_identity()),
          Alter(absl::StrCat("REPLICA IDENTITY ", one_.replica_identity())), true);
    }
    if (one != other) {
      Add(Both("the key", one, other), statement, at_other);
    } else if (primary) {
      Add(Both("the primary key", OrNone(one_.primary_key().meaning()),
               OrNone(other_.primary_key().meaning())),
          statement, at_other, /*matters=*/false);
    }
  }

  static bool Has(const Constraints& all, const v1::ConstraintShape& wanted) {
    return std::any_of(all.begin(), all.end(), [&](const v1::ConstraintShape& constraint) {
      return constraint.meaning() == wanted.meaning();
    });
  }

  void Unique(const Constraints& here, const Constraints& there, absl::string_view where,
              absl::string_view missing, bool at_other) {
    for (const v1::ConstraintShape& constraint : here) {
      if (Has(there, constraint)) continue;
      Add(absl::StrCat(constraint.meaning(), " (index ", constraint.name(), ") is ", where,
                       " and not ", missing),
          constraint.statement(), at_other);
    }
  }

  void Checks(const Constraints& here, const Constraints& there, absl::string_view where,
              absl::string_view missing, bool at_other) {
    for (const v1::ConstraintShape& check : here) {
      if (Has(there, check)) continue;
      Add(absl::StrCat("CHECK ", check.meaning(), " (", check.name(), ") is ", where, " and not ",
                       missing),
          check.statement(), at_other);
    }
  }

  const v1::TableShape& one_;
  const v1::TableShape& other_;
  const std::string where_;
  const std::string where_other_;
  std::vector<ShapeDifference>* const found_;
};

void MissingTable(const v1::TableShape& table, absl::string_view there, absl::string_view missing,
                  bool at_other, std::vector<ShapeDifference>* found) {
  // Who does not publish it sends nothing of it.
  if (!table.published()) return;
  found->push_back({.table = absl::StrCat(table.schema(), ".", table.name()),
                    .what = absl::StrCat("the table is ", there, " and not ", missing),
                    .statement = CreateTable(table),
                    .at_other = at_other});
}

}  // namespace

std::vector<ShapeDifference> CompareSchemas(const SchemaSide& one, const SchemaSide& other) {
  std::vector<ShapeDifference> found;
  const auto name = [](const v1::TableShape& table) {
    return std::pair<absl::string_view, absl::string_view>(table.schema(), table.name());
  };
  const auto& ours = one.schema->tables();
  const auto& theirs = other.schema->tables();
  auto a = ours.begin();
  auto b = theirs.begin();
  while (a != ours.end() || b != theirs.end()) {
    if (b == theirs.end() || (a != ours.end() && name(*a) < name(*b))) {
      MissingTable(*a++, one.where, other.where, /*at_other=*/true, &found);
    } else if (a == ours.end() || name(*b) < name(*a)) {
      MissingTable(*b++, other.where, one.where, /*at_other=*/false, &found);
    } else {
      if (a->published() || b->published()) {
        TableComparison(*a, one.where, *b, other.where, &found).Run();
      }
      ++a;
      ++b;
    }
  }
  return found;
}

std::vector<ShapeDifference> UnfitTables(const v1::Schema& schema) {
  std::vector<ShapeDifference> found;
  for (const v1::TableShape& table : schema.tables()) {
    if (!table.published()) continue;
    for (const v1::ColumnShape& column : table.columns()) {
      const bool key =
          std::find(table.key().begin(), table.key().end(), column.name()) != table.key().end();
      if (!key || column.generated_as().empty()) continue;
      found.push_back(
          {.table = absl::StrCat(table.schema(), ".", table.name()),
           .what = absl::StrCat("column ", column.name(),
                                " of the key is generated, and PostgreSQL sends no values of "
                                "generated columns: changes of the table stop at every other node"),
           .statement = absl::StrCat("ALTER TABLE ", Qualified(table), " ALTER COLUMN ",
                                     QuoteIdentifier(column.name()), " DROP EXPRESSION")});
    }
  }
  return found;
}

const v1::TableShape* FindTableShape(const v1::Schema& schema, absl::string_view schema_name,
                                     absl::string_view table) {
  const auto name = std::make_pair(schema_name, table);
  const auto found = std::lower_bound(schema.tables().begin(), schema.tables().end(), name,
                                      [](const v1::TableShape& shape, const auto& wanted) {
                                        return std::pair<absl::string_view, absl::string_view>(
                                                   shape.schema(), shape.name()) < wanted;
                                      });
  if (found == schema.tables().end() || found->schema() != schema_name || found->name() != table) {
    return nullptr;
  }
  return &*found;
}

}  // namespace bdr::postgres
