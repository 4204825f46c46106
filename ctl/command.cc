#include "ctl/command.h"

#include <functional>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace bdr::ctl {
namespace {

std::string ExamplesFooter(const std::vector<std::string>& examples) {
  std::string footer = "\nExamples:\n";
  for (const std::string& example : examples) absl::StrAppend(&footer, "  ", example, "\n");
  return footer;
}

}  // namespace

void Invocation::Complain(const absl::Status& error) {
  std::cerr << "bdrctl: " << error.message() << "\n";
}

CLI::App* AddVerb(CLI::App* parent, Invocation* invocation, const std::string& name,
                  const std::string& description, const std::vector<std::string>& examples,
                  std::function<absl::StatusOr<int>()> run) {
  CLI::App* verb = parent->add_subcommand(name, description);
  verb->footer(ExamplesFooter(examples));
  verb->callback([invocation, run = std::move(run)] { invocation->run = run; });
  return verb;
}

CLI::App* AddNoun(CLI::App* parent, const std::string& name, const std::string& description,
                  const std::vector<std::string>& examples) {
  CLI::App* noun = parent->add_subcommand(name, description);
  noun->footer(ExamplesFooter(examples));
  noun->require_subcommand(1);
  return noun;
}

void BuildApp(CLI::App* app, Invocation* invocation) {
  Globals& globals = invocation->globals;
  app->name("bdrctl");
  app->description("Administers a bdr cluster: PostgreSQL servers that all take writes.");
  // Global options may stand behind the verb as well.
  app->fallthrough();
  app->require_subcommand(1);
  app->set_version_flag("--version", absl::StrCat("bdrctl ", BDR_VERSION),
                        "Print the version of bdrctl");
  app->add_option("--server", globals.server,
                  "bdr-server to ask, as host:port; several with commas between: "
                  "one after the other, until one answers")
      ->envname("BDR_SERVER")
      ->capture_default_str();
  app->add_flag("--insecure", globals.insecure,
                "Without TLS; only to loopback addresses (development)")
      ->envname("BDR_INSECURE");
  app->add_option("--ca", globals.ca, "File with the certificate authority's certificate")
      ->envname("BDR_CA");
  app->add_option("--cert", globals.cert, "File with this client's certificate")
      ->envname("BDR_CERT");
  app->add_option("--key", globals.key, "File with the certificate's private key")
      ->envname("BDR_KEY");
  app->add_option("-o,--output", globals.format_name, "Form of the output: table, json or yaml")
      ->check(CLI::IsMember({"table", "json", "yaml"}))
      ->capture_default_str();
  app->footer(ExamplesFooter({"bdrctl --insecure status",
                              "bdrctl --server ctl1:7400 --ca ca.pem --cert me.pem --key me.key "
                              "node list",
                              "bdrctl status -o json"}));

  AddStatusCommand(app, invocation);
  AddClockCommands(app, invocation);
  AddTableCommands(app, invocation);
  AddSchemaCommands(app, invocation);
  AddSequenceCommands(app, invocation);
  AddClusterCommands(app, invocation);
  AddConstraintCommands(app, invocation);
  AddDeadLetterCommands(app, invocation);
  AddLockCommands(app, invocation);
  AddNodeCommands(app, invocation);
  AddConflictCommands(app, invocation);
  AddApplyCommands(app, invocation);
  AddCaptureCommands(app, invocation);
  AddServerCommands(app, invocation);
  AddVerifyCommand(app, invocation);
  AddCertCommands(app, invocation);
  AddCompletionCommand(app, invocation);
  AddVersionCommand(app, invocation);
}

}  // namespace bdr::ctl
