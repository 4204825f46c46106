#include "tests/harness/machine_crash.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "tests/harness/temp_folder.h"

namespace bdr::harness {
namespace {

// Path to the bytes that are safe, as the journal tells.
absl::StatusOr<std::map<std::string, int64_t>> SyncedSizes(const std::string& journal) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(journal));
  std::map<std::string, int64_t> synced;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::string rest(line.substr(2));
    if (line[0] == 'S') {
      const std::pair<absl::string_view, absl::string_view> size_and_path =
          absl::StrSplit(rest, absl::MaxSplits(' ', 1));
      int64_t bytes = 0;
      if (!absl::SimpleAtoi(size_and_path.first, &bytes)) {
        return absl::InternalError(absl::StrCat("bad line in \"", journal, "\": ", line));
      }
      synced[std::string(size_and_path.second)] = bytes;
    } else if (line[0] == 'R') {
      const std::pair<std::string, std::string> paths =
          absl::StrSplit(rest, absl::MaxSplits('\t', 1));
      const auto from = synced.find(paths.first);
      synced[paths.second] = from == synced.end() ? 0 : from->second;
      synced.erase(paths.first);
    } else {
      synced.erase(rest);
    }
  }
  return synced;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> MachineCrash::environment() const {
  return {{"LD_PRELOAD", BDR_UNSYNCED_LIBRARY},
          {"BDR_UNSYNCED_FOLDER", folder_},
          {"BDR_UNSYNCED_JOURNAL", journal_}};
}

absl::StatusOr<int64_t> MachineCrash::LoseUnsynced() {
  ASSIGN_OR_RETURN(const auto synced, SyncedSizes(journal_));
  int64_t lost = 0;
  std::string after;
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_, error)) {
    if (!entry.is_regular_file()) continue;
    const auto known = synced.find(entry.path().string());
    const int64_t size = static_cast<int64_t>(entry.file_size());
    const int64_t safe = std::min(size, known == synced.end() ? 0 : known->second);
    if (safe < size) std::filesystem::resize_file(entry.path(), static_cast<uintmax_t>(safe));
    lost += size - safe;
    // After the crash, what is there is on disk.
    absl::StrAppend(&after, "S ", safe, " ", entry.path().string(), "\n");
  }
  if (error) return absl::InternalError(absl::StrCat("cannot list \"", folder_, "\""));
  RETURN_IF_ERROR(WriteFile(journal_, after));
  return lost;
}

}  // namespace bdr::harness
