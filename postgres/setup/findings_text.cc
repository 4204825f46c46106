#include "postgres/setup/findings_text.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace bdr::pg_setup {
namespace {

// "1 error, 3 warnings, 41 good".
std::string Summary(const std::vector<Finding>& findings) {
  const auto count = [&](Finding::Level level) {
    return std::count_if(findings.begin(), findings.end(),
                         [&](const Finding& f) { return f.level == level; });
  };
  const auto errors = count(Finding::Level::kError), warnings = count(Finding::Level::kWarning);
  return absl::StrCat(errors, errors == 1 ? " error, " : " errors, ", warnings,
                      warnings == 1 ? " warning, " : " warnings, ", count(Finding::Level::kOk),
                      " good");
}

}  // namespace

const char* LevelName(Finding::Level level) {
  switch (level) {
    case Finding::Level::kOk:
      return "ok";
    case Finding::Level::kWarning:
      return "warning";
    case Finding::Level::kError:
      return "error";
  }
  return "error";
}

std::string FindingsText(const Checked& checked, bool with_good) {
  std::string text = absl::StrCat(checked.what, ": ", Summary(checked.findings), "\n");
  for (const Finding& finding : checked.findings) {
    if (finding.level == Finding::Level::kOk && !with_good) continue;
    absl::StrAppend(&text, "  ", LevelName(finding.level), ": ", finding.what, "\n");
    if (!finding.remedy.empty()) {
      absl::StrAppend(&text, "      ", finding.remedy, finding.remedy[0] == '-' ? "" : ";", "\n");
    }
  }
  return text;
}

}  // namespace bdr::pg_setup
