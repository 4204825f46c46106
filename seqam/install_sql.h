// The part of a node's setup that makes bdr.nextval() and its kin.
#pragma once

#include <string>

#include "absl/types/span.h"
#include "seqam/method.h"

namespace bdr::seqam {

// Statements for a superuser, inside of the setup script: after the migrations, with search_path
// pg_catalog, pg_temp. Repeating them is harmless. Whoever may use schema bdr may call what they
// make.
std::string InstallSql();
// With other methods than those of Methods(), of which no two may have one name or tag.
std::string InstallSql(absl::Span<const Method* const> methods);

}  // namespace bdr::seqam
