// What a sequence access method is: one way of giving out the numbers of a sequence so that no two
// nodes give out the same.
//
// A method consists of SQL that the setup script puts into schema bdr, and of this description by
// which programs convert sequences to it. docs/sequences.md says how to add one.
//
// How bdr.nextval() knows the method of a sequence. The sequence itself, PostgreSQL's own object,
// goes on to count; a method with a tag makes it count *ordinals* in a range of numbers that lies
// below every number which a user's sequence ever gives out:
//
//     -2^63 + (tag << 59) + (node << 49) + 0, 1, 2, ...            below -2^62 in all
//
// So one call of nextval() tells the method and the node and gives a number that nobody else has,
// at every isolation level and with the rights of whoever calls. An application that calls
// nextval() itself gets the bare ordinal: it is nobody else's either, and a column of type integer
// refuses it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace bdr::seqam {

inline constexpr int kTagShift = 59;
inline constexpr int kNodeShift = 49;
inline constexpr int64_t kOrdinalsPerNode = int64_t{1} << kNodeShift;
// Of this and above are numbers that nextval() gives out as they are.
inline constexpr int64_t kFirstPlain = -(int64_t{1} << 62);

// The first ordinal of `node` (1..1023) under the method with `tag` (0..7).
constexpr int64_t FirstOrdinal(int tag, int node) {
  return INT64_MIN + (int64_t{tag} << kTagShift) + (int64_t{node} << kNodeShift);
}

// Stateless and immutable; there is one of each, for as long as the program runs.
class Method {
 public:
  virtual ~Method() = default;

  // As users write it; [a-z_]+.
  virtual absl::string_view name() const = 0;
  // One line for people: what numbers it gives out, and what it needs.
  virtual absl::string_view summary() const = 0;

  // Marks its ordinals; nullopt if the sequence gives out its numbers itself.
  virtual std::optional<int> tag() const = 0;

  // Statements of the setup script, run by a superuser with search_path pg_catalog, pg_temp each
  // time that a node is set up: functions of schema bdr, each CREATE OR REPLACE, and tables that
  // are not there yet. Sessions of any role call the functions with their own rights.
  virtual absl::string_view InstallSql() const = 0;

  // Among InstallSql()'s functions is the one that bdr.convert_sequence() calls, as an
  // administrator and in its transaction, once the sequence's row is in bdr.sequence:
  //
  //     bdr.begin_METHOD(s regclass, number int, node int, first bigint, parameters jsonb)
  //         RETURNS regclass
  //
  // No node has given out `first` or anything beyond it. It makes the registers, called
  // bdr.sequence_NUMBER and bdr.sequence_NUMBER_X, and returns the first. Without a tag it brings
  // the sequence itself to where it is to go on; with one convert_sequence() does, afterwards.

  // For when the sequence is to leave the method, in an administrator's transaction that may be
  // rolled back, there is another one, unless needs_allocator(), where bdr-server knows how far
  // numbers go:
  //
  //     bdr.cap_METHOD(s regclass, last bigint) RETURNS void
  //
  // From its commit on this node gives out nothing above `last`, whoever is in the middle of
  // drawing; sessions get an error then. It fails if the node is beyond `last` already.

  // With a tag, if a call is to cost little: arms of an SQL CASE, "WHEN condition THEN id", for
  // functions of the method's own that defaults call (quick.sql). Where no condition holds
  // NextvalSql() runs. They see `v`, `m`, `s` and `register`, as below, but `v` may be another
  // method's, or no ordinal, where a default was left over: no condition may hold for that.
  virtual absl::string_view QuickSql() const { return ""; }

  // With a tag: PL/pgSQL that bdr.nextval() runs for an ordinal of it. It sees `s`, the sequence,
  // `v`, the ordinal just drawn, `register` and `m`, the number in that register, and returns the
  // id; what it cannot do quickly it leaves to a function of InstallSql().
  virtual absl::string_view NextvalSql() const = 0;

  // With a tag: SQL expressions over `s`, `register` and the ordinal `v`, for what sessions ask
  // besides.
  //
  // The id that bdr.nextval() made of `v` when this session drew it; NULL if that cannot be told
  // any more. Never another number.
  virtual absl::string_view CurrvalSql() const { return "NULL::bigint"; }
  // A number that lies below all that this node is still to give out, the highest that is easily
  // known, where `v` is the last ordinal that anybody drew; NULL if none is.
  virtual absl::string_view FloorSql() const { return "NULL::bigint"; }

  // A number that this node has given out nothing above, nor will within an hour if it draws no
  // faster than now; NULL if bdr-server knows.
  virtual absl::string_view CeilingSql() const { return "NULL::bigint"; }

  // True if it lives on chunks that bdr-server grants.
  virtual bool needs_allocator() const { return false; }
};

}  // namespace bdr::seqam
