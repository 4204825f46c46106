// bdr-agent --check: whether the agent could start and do its work, looked at without starting it.
//
// Changes nothing, anywhere: no file or folder is made, nothing is written to the database, and
// bdr-server is only asked. It may be run as often as one likes, before the first start above all;
// beside a running agent all but the ports can be looked at.
#pragma once

#include <ostream>
#include <string>

namespace bdr::agent {

// Prints each thing that was looked at, and gives the exit code, as "bdrctl node check" does: 0
// good, 1 warnings, 2 something does not work.
int RunCheck(const std::string& config_path, std::ostream& out);

}  // namespace bdr::agent
