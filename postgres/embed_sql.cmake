# Writes ${OUTPUT}, a C++ source with the migrations of ${FOLDER}/NNN_*.sql.
# Run with cmake -DFOLDER=... -DOUTPUT=... -P.
file(GLOB files ${FOLDER}/*.sql)
list(SORT files)

set(entries "")
set(expected 0)
foreach(file ${files})
  get_filename_component(name ${file} NAME)
  math(EXPR expected "${expected} + 1")
  if(NOT name MATCHES "^([0-9][0-9][0-9])_[a-z0-9_]+\\.sql$")
    message(FATAL_ERROR "${name}: a migration is called NNN_what_it_is.sql")
  endif()
  # Without leading zeros, which would make it octal.
  string(REGEX REPLACE "^0+" "" version "${CMAKE_MATCH_1}")
  if(NOT version EQUAL expected)
    message(FATAL_ERROR "${name}: the next migration has number ${expected}; none may be left out")
  endif()
  file(READ ${file} sql)
  string(APPEND entries "    {${version}, \"${name}\", R\"bdrsql(${sql})bdrsql\"},\n")
endforeach()

file(WRITE ${OUTPUT}
"// Made by embed_sql.cmake from postgres/sql/.
#include \"postgres/migrations_internal.h\"

namespace bdr::postgres::internal {
namespace {
constexpr Migration kMigrations[] = {
${entries}};
}  // namespace

absl::Span<const Migration> AllMigrations() { return kMigrations; }

}  // namespace bdr::postgres::internal
")
