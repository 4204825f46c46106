#include "tests/harness/log_reasons.h"

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "tests/harness/temp_folder.h"

namespace bdr::harness {

std::vector<std::string> LinesWithoutReason(const std::vector<std::string>& files) {
  std::vector<std::string> found;
  for (const std::string& file : files) {
    const absl::StatusOr<std::string> text = ReadFile(file);
    if (!text.ok()) continue;
    for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
      if (absl::EndsWith(absl::StripTrailingAsciiWhitespace(line), ":")) {
        found.push_back(absl::StrCat(file, ": ", line));
      }
    }
  }
  return found;
}

}  // namespace bdr::harness
