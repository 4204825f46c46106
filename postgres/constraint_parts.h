// Reads unique indexes and exclusion constraints from the catalog: one row for each part of each.
// Shared by those who load one table (constraints.cc) and those who read all (shapes/). Both must
// see the same in a constraint, since what nodes tell each other is compared with what they load.
#pragma once

#include "postgres/catalog.h"
#include "postgres/connection.h"

namespace bdr::postgres {

// To follow SELECT, with pg_index i, pg_class x of the index, and t.oid of the table (of a
// partition: its root) in FROM, and kConstraintPartJoins after them; nothing but pg_catalog may be
// in the search path, so that what expressions call is named in full.
//
// What deparses an expression waits for whoever has the table ACCESS EXCLUSIVE, so that is asked of
// expressions and predicates alone.
inline constexpr char kConstraintPartColumns[] = R"(
       i.indexrelid, x.relname, i.indisexclusion, NOT i.indimmediate, i.indnullsnotdistinct,
       CASE WHEN i.indrelid <> t.oid THEN
         (SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE c.oid = i.indrelid) ELSE '' END,
       COALESCE(pg_get_expr(i.indpred, i.indrelid), ''),
       CASE WHEN i.indrelid <> t.oid
            THEN COALESCE(pg_get_partition_constraintdef(i.indrelid), '') ELSE '' END,
       COALESCE(a.attname, ''),
       CASE WHEN e.attnum > 0 THEN quote_ident(a.attname)
            ELSE pg_get_indexdef(i.indexrelid, e.place::int4, false) END,
       COALESCE((SELECT quote_ident(s.nspname) FROM pg_namespace s WHERE s.oid = l.collnamespace)
                || '.' || quote_ident(l.collname), ''),
       COALESCE(l.collisdeterministic, true),
       (SELECT 'OPERATOR(' || quote_ident(s.nspname) || '.' || o.oprname || ')'
          FROM pg_operator o JOIN pg_namespace s ON s.oid = o.oprnamespace
         WHERE o.oid = CASE WHEN i.indisexclusion
           THEN (SELECT k.conexclop[e.place] FROM pg_constraint k
                  WHERE k.conindid = i.indexrelid AND k.contype = 'x')
           ELSE (SELECT m.amopopr FROM pg_amop m
                  WHERE m.amopfamily = c.opcfamily AND m.amopstrategy = 3
                    AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype) END),
       c.opcdefault OR c.opcname LIKE '%\_pattern\_ops')";

// Defines e.place, the part's place.
inline constexpr char kConstraintPartJoins[] = R"(
 CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indcollation::oid[], i.indclass::oid[])
       WITH ORDINALITY AS e (attnum, coll, opclass, place)
  JOIN pg_opclass c ON c.oid = e.opclass
  LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = e.attnum AND e.attnum > 0
  LEFT JOIN pg_collation l ON l.oid = e.coll
 WHERE e.place <= i.indnkeyatts)";

// Fields of kConstraintPartColumns.
enum ConstraintField : int {
  kConstraintOid,
  kConstraintName,
  kConstraintExclusion,
  kConstraintDeferrable,
  kConstraintNullsNotDistinct,
  kConstraintPartition,
  kConstraintPredicate,
  kConstraintPartitionPredicate,
  kPartColumn,
  kPartExpression,
  kPartCollation,
  kPartDeterministic,
  kPartOperator,
  kPartPlain,
  kConstraintFields,  // how many
};

// The constraint that this row speaks of, without its parts and columns.
ConstraintInfo ReadConstraint(const Result& result, int row);
// One of its parts, without its column.
ConstraintInfo::Part ReadPart(const Result& result, int row);

}  // namespace bdr::postgres
