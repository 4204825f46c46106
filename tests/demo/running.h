// The processes that a demo left running for its user to look at.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace bdr::demo {

// Agents, servers, members of etcd and postmasters whose command line names something in the
// folder.
std::vector<pid_t> RunningProcesses(const std::string& folder);

// Ends them, each before what it needs, and removes the folder unless it is marked as kept.
// Harmless if nothing runs. kDeadlineExceeded if one of them had to be killed.
absl::Status Stop(const std::string& folder);

// Makes Stop() leave the folder, and Run() refuse to overwrite it.
absl::Status MarkAsKept(const std::string& folder);
bool IsKept(const std::string& folder);

}  // namespace bdr::demo
