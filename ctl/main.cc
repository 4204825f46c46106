// bdrctl: the administrator's tool. See docs/bdrctl.md.
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/test_hooks.h"
#include "ctl/command.h"
#include "ctl/wrong_word.h"

namespace {

// What could not be written must not look as if it had been.
int End(int code) {
  std::cout.flush();
  if (std::cout) return code;
  bdr::ctl::Invocation::Complain(absl::DataLossError("standard output cannot be written"));
  return bdr::ctl::kFailed;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app;
  bdr::ctl::Invocation invocation;
  invocation.out = &std::cout;
  bdr::ctl::BuildApp(&app, &invocation);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Help is asked for by an "error" as well, whose code is 0.
    if (error.get_exit_code() == 0) {
      (void)app.exit(error);
      return End(bdr::ctl::kGood);
    }
    const std::string wrong =
        bdr::ctl::WrongWord(app, std::vector<std::string>(argv + 1, argv + argc));
    if (wrong.empty()) {
      (void)app.exit(error);
    } else {
      std::cerr << "bdrctl: " << wrong << "\nRun with --help for more information.\n";
    }
    return bdr::ctl::kUsage;
  }
  auto format = bdr::ctl::ParseOutputFormat(invocation.globals.format_name);
  if (!format.ok()) {
    bdr::ctl::Invocation::Complain(format.status());
    return bdr::ctl::kUsage;
  }
  invocation.globals.format = *format;
  if (const absl::Status hooks = bdr::EnableTestHooks(); !hooks.ok()) {
    bdr::ctl::Invocation::Complain(hooks);
    return bdr::ctl::kUsage;
  }
  const absl::StatusOr<int> code = invocation.run();
  if (!code.ok()) {
    bdr::ctl::Invocation::Complain(code.status());
    return bdr::ctl::kFailed;
  }
  return End(*code);
}
