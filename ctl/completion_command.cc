// bdrctl completion bash: written from the command line's own declaration, so it knows every verb.
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ctl/command.h"

namespace bdr::ctl {
namespace {

// "bdrctl node add" to the words that may follow.
using Words = std::map<std::string, std::vector<std::string>>;

void Collect(const CLI::App* app, const std::string& path, Words& words) {
  std::vector<std::string>& here = words[path];
  for (const CLI::App* sub : app->get_subcommands([](const CLI::App*) { return true; })) {
    here.push_back(sub->get_name());
    Collect(sub, absl::StrCat(path, " ", sub->get_name()), words);
  }
  for (const CLI::Option* option : app->get_options()) {
    for (const std::string& name : option->get_lnames()) here.push_back(absl::StrCat("--", name));
  }
}

std::string BashScript(const CLI::App* app) {
  Words words;
  Collect(app, "bdrctl", words);
  std::string cases;
  for (const auto& [path, next] : words) {
    absl::StrAppend(&cases, "    '", path, "') words='", absl::StrJoin(next, " "), "' ;;\n");
  }
  return absl::StrCat(
      "# Completion of bdrctl for bash. Once: source <(bdrctl completion bash)\n"
      "# Always: bdrctl completion bash > /etc/bash_completion.d/bdrctl\n"
      "_bdrctl() {\n"
      "  local path=bdrctl words='' word current=\"${COMP_WORDS[COMP_CWORD]}\"\n"
      "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
      "    case \"$word\" in\n"
      "      -*) ;;\n"
      "      *) case \" $(_bdrctl_words \"$path\") \" in *\" $word \"*) path=\"$path $word\" ;; "
      "esac "
      ";;\n"
      "    esac\n"
      "  done\n"
      "  words=\"$(_bdrctl_words \"$path\") $(_bdrctl_words bdrctl | tr ' ' '\\n' | grep '^--' | "
      "tr '\\n' ' ')\"\n"
      "  if [ \"${COMP_WORDS[COMP_CWORD-1]}\" = -o ]; then words='table json yaml'; fi\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
      "}\n"
      "_bdrctl_words() {\n"
      "  local words=''\n"
      "  case \"$1\" in\n",
      cases,
      "  esac\n"
      "  echo \"$words\"\n"
      "}\n"
      "complete -F _bdrctl bdrctl\n");
}

}  // namespace

void AddCompletionCommand(CLI::App* app, Invocation* invocation) {
  CLI::App* completion = AddNoun(app, "completion", "Completion of verbs and options in a shell",
                                 {"source <(bdrctl completion bash)"});
  AddVerb(completion, invocation, "bash", "Prints the script for bash",
          {"source <(bdrctl completion bash)",
           "bdrctl completion bash > /etc/bash_completion.d/bdrctl"},
          [app, invocation]() -> absl::StatusOr<int> {
            const std::string script = BashScript(app);
            invocation->Print({.text = script, .document = {{"bash", script}}});
            return kGood;
          });
}

}  // namespace bdr::ctl
