#include "tests/harness/usage.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "tests/harness/temp_folder.h"

namespace bdr::harness {
namespace {

double Median(absl::Span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(sorted.size() / 2),
                   sorted.end());
  return sorted[sorted.size() / 2];
}

}  // namespace

absl::StatusOr<Usage> UsageOf(pid_t pid) {
  const absl::StatusOr<std::string> stat = ReadFile(absl::StrCat("/proc/", pid, "/stat"));
  const absl::StatusOr<std::string> status = ReadFile(absl::StrCat("/proc/", pid, "/status"));
  if (!stat.ok() || !status.ok()) {
    return absl::NotFoundError(absl::StrCat("there is no process ", pid));
  }
  // The second field is the program's name in parentheses, and may hold anything. Of those behind
  // it utime and stime are the 12th and 13th.
  const std::vector<std::string> fields = absl::StrSplit(stat->substr(stat->rfind(')') + 2), ' ');
  int64_t user = 0;
  int64_t system = 0;
  if (fields.size() < 13 || !absl::SimpleAtoi(fields[11], &user) ||
      !absl::SimpleAtoi(fields[12], &system)) {
    return absl::InternalError(absl::StrCat("/proc/", pid, "/stat is not as expected"));
  }
  Usage usage;
  usage.cpu =
      absl::Seconds(static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK)));
  for (const absl::string_view line : absl::StrSplit(*status, '\n')) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    int64_t kilobytes = 0;
    if (words.size() >= 2 && words[0] == "RssAnon:" && absl::SimpleAtoi(words[1], &kilobytes)) {
      usage.memory_bytes = kilobytes << 10;
    }
  }
  return usage;
}

std::vector<pid_t> ChildrenOf(pid_t pid) {
  std::vector<pid_t> children;
  const absl::StatusOr<std::string> list =
      ReadFile(absl::StrCat("/proc/", pid, "/task/", pid, "/children"));
  if (!list.ok()) return children;
  for (const absl::string_view word : absl::StrSplit(*list, ' ', absl::SkipWhitespace())) {
    pid_t child = 0;
    if (absl::SimpleAtoi(word, &child)) children.push_back(child);
  }
  return children;
}

int64_t FolderBytes(const std::string& folder) {
  int64_t bytes = 0;
  std::error_code error;
  std::filesystem::recursive_directory_iterator entry(folder, error);
  while (!error && entry != std::filesystem::recursive_directory_iterator()) {
    std::error_code gone;
    const uintmax_t size = entry->is_regular_file(gone) ? entry->file_size(gone) : 0;
    if (!gone) bytes += static_cast<int64_t>(size);
    entry.increment(error);
  }
  return bytes;
}

std::string Growth(absl::Span<const double> samples, double factor, double slack) {
  const size_t quarter = samples.size() / 4;
  if (quarter == 0) return absl::StrCat("only ", samples.size(), " samples");
  const double before = Median(samples.subspan(quarter, quarter));
  const double after = Median(samples.subspan(samples.size() - quarter));
  if (after <= before * factor + slack) return "";
  return absl::StrCat("from ", before, " to ", after);
}

}  // namespace bdr::harness
