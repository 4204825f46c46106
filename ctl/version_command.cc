#include <string>

#include "absl/strings/str_cat.h"
#include "ctl/command.h"

namespace bdr::ctl {

void AddVersionCommand(CLI::App* app, Invocation* invocation) {
  AddVerb(app, invocation, "version", "Prints the version of bdrctl",
          {"bdrctl version", "bdrctl version -o json"}, [invocation]() -> absl::StatusOr<int> {
            invocation->Print({.text = absl::StrCat("bdrctl ", BDR_VERSION, "\n"),
                               .document = {{"version", BDR_VERSION}}});
            return kGood;
          });
}

}  // namespace bdr::ctl
