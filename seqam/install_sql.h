// The part of a node's setup that makes bdr.nextval() and its kin.
#pragma once

#include <string>

namespace bdr::seqam {

// Statements for a superuser, inside of the setup script: after the migrations, with search_path
// pg_catalog, pg_temp. Repeating them is harmless. Whoever may use schema bdr may call what they
// make.
std::string InstallSql();

}  // namespace bdr::seqam
