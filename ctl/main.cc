// bdrctl: the administrator's tool. See docs/bdrctl.md.
#include <iostream>
#include <utility>

#include "absl/status/statusor.h"
#include "ctl/command.h"

int main(int argc, char** argv) {
  CLI::App app;
  bdr::ctl::Invocation invocation;
  invocation.out = &std::cout;
  bdr::ctl::BuildApp(&app, &invocation);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Help is asked for by an "error" as well, whose code is 0.
    return app.exit(error) == 0 ? bdr::ctl::kGood : bdr::ctl::kUsage;
  }
  auto format = bdr::ctl::ParseOutputFormat(invocation.globals.format_name);
  if (!format.ok()) {
    bdr::ctl::Invocation::Complain(format.status());
    return bdr::ctl::kUsage;
  }
  invocation.globals.format = *format;
  const absl::StatusOr<int> code = invocation.run();
  if (!code.ok()) {
    bdr::ctl::Invocation::Complain(code.status());
    return bdr::ctl::kFailed;
  }
  return *code;
}
