#include "ctl/wrong_word.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace bdr::ctl {
namespace {

// How many letters have to be added, left out or exchanged (Levenshtein).
size_t Distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t exchanged = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, exchanged});
    }
  }
  return row[b.size()];
}

std::string Nearest(const std::vector<const CLI::App*>& verbs, const std::string& word) {
  std::string nearest;
  size_t least = word.size() / 2 + 1;
  for (const CLI::App* verb : verbs) {
    const size_t distance = Distance(word, verb->get_name());
    if (distance > least || (distance == least && !nearest.empty())) continue;
    least = distance;
    nearest = verb->get_name();
  }
  return nearest;
}

bool TakesValue(const CLI::App* app, const std::string& option) {
  for (; app != nullptr; app = app->get_parent()) {
    const CLI::Option* found = app->get_option_no_throw(option);
    if (found != nullptr) return found->get_items_expected_max() > 0;
  }
  return false;
}

}  // namespace

std::string WrongWord(const CLI::App& app, const std::vector<std::string>& arguments) {
  const CLI::App* at = &app;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (absl::StartsWith(word, "-")) {
      if (!absl::StrContains(word, '=') && TakesValue(at, word)) ++i;
      continue;
    }
    const std::vector<const CLI::App*> verbs =
        at->get_subcommands([](const CLI::App*) { return true; });
    if (verbs.empty()) return "";
    const auto found = std::find_if(verbs.begin(), verbs.end(), [&word](const CLI::App* verb) {
      return verb->get_name() == word;
    });
    if (found != verbs.end()) {
      at = *found;
      continue;
    }
    const std::string before = at == &app ? "bdrctl" : absl::StrCat("bdrctl ", at->get_name());
    const std::string nearest = Nearest(verbs, word);
    return absl::StrCat("\"", word, "\" is no verb of ", before,
                        nearest.empty() ? "" : absl::StrCat("; did you mean \"", nearest, "\"?"));
  }
  return "";
}

}  // namespace bdr::ctl
