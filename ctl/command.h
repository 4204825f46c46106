// What every verb of bdrctl is built from: the global options, and how a verb is declared.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ctl/output.h"

namespace bdr::ctl {

// How bdrctl ends. 0 to 2 are the answer of status, verify and node check; others never use 1 or 2.
enum ExitCode : int {
  kGood = 0,
  kWarning = 1,
  kCritical = 2,
  kUsage = 3,   // the command line is wrong
  kFailed = 4,  // asked rightly, but it could not be done: no connection, refused, not found
};

inline constexpr char kDefaultServer[] = "127.0.0.1:7400";

struct Globals {
  std::string server = kDefaultServer;
  bool insecure = false;
  std::string ca = {};
  std::string cert = {};
  std::string key = {};
  OutputFormat format = OutputFormat::kTable;
  std::string format_name = "table";
};

// One run of bdrctl: filled while the command line is parsed, then run.
struct Invocation {
  Globals globals;
  // The chosen verb. Gives the exit code; an error is printed by the caller, with kFailed.
  std::function<absl::StatusOr<int>()> run;
  std::ostream* out = nullptr;

  void Print(const Output& output) const { Write(output, globals.format, *out); }
  // On standard error, for what failed while the rest goes on; the verb then ends with kFailed.
  static void Complain(const absl::Status& error);
};

// Adds a verb with examples at the end of its help. `run` is called after the whole command line
// has been parsed.
CLI::App* AddVerb(CLI::App* parent, Invocation* invocation, const std::string& name,
                  const std::string& description, const std::vector<std::string>& examples,
                  std::function<absl::StatusOr<int>()> run);

// Adds a noun (cluster, node, conflict ...) that needs one of its verbs.
CLI::App* AddNoun(CLI::App* parent, const std::string& name, const std::string& description,
                  const std::vector<std::string>& examples);

// The whole command line of bdrctl. `app` and `invocation` must outlive the parsing and the run.
void BuildApp(CLI::App* app, Invocation* invocation);

// Each in its own file.
void AddApplyCommands(CLI::App* app, Invocation* invocation);
void AddCaptureCommands(CLI::App* app, Invocation* invocation);
void AddCertCommands(CLI::App* app, Invocation* invocation);
void AddClockCommands(CLI::App* app, Invocation* invocation);
void AddClusterCommands(CLI::App* app, Invocation* invocation);
void AddCompletionCommand(CLI::App* app, Invocation* invocation);
void AddConflictCommands(CLI::App* app, Invocation* invocation);
void AddConstraintCommands(CLI::App* app, Invocation* invocation);
void AddDeadLetterCommands(CLI::App* app, Invocation* invocation);
void AddLockCommands(CLI::App* app, Invocation* invocation);
void AddNodeCommands(CLI::App* app, Invocation* invocation);
void AddSchemaCommands(CLI::App* app, Invocation* invocation);
void AddSequenceCommands(CLI::App* app, Invocation* invocation);
void AddServerCommands(CLI::App* app, Invocation* invocation);
void AddStatusCommand(CLI::App* app, Invocation* invocation);
void AddTableCommands(CLI::App* app, Invocation* invocation);
void AddTableChangeCommands(CLI::App* table, Invocation* invocation);  // under "bdrctl table"
void AddVerifyCommand(CLI::App* app, Invocation* invocation);
void AddVersionCommand(CLI::App* app, Invocation* invocation);

}  // namespace bdr::ctl
