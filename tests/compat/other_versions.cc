#include "tests/compat/other_versions.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "tests/harness/postgres_server.h"
#include "tests/harness/process.h"
#include "tests/harness/temp_folder.h"

namespace bdr::integration {

absl::StatusOr<std::string> BinFolderOf(int major) {
  if (major == 0) return harness::DefaultPostgresBin();
  const absl::StatusOr<harness::ProgramResult> fetched = harness::RunProgram(
      {.argv = {BDR_FETCH_SCRIPT, absl::StrCat(major), harness::BuildFolder() + "/embedded-pg"}},
      absl::Minutes(5));
  if (fetched.ok() && fetched->exit_code == 0) {
    return std::string(absl::StripAsciiWhitespace(fetched->out));
  }
  return absl::UnavailableError(
      absl::StrCat("no PostgreSQL ", major,
                   " here: ", fetched.ok() ? fetched->err : fetched.status().ToString()));
}

}  // namespace bdr::integration
