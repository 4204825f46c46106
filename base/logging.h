// Logs: one line for each event, for a person with two nodes that disagree.
//
//   W 2026-01-31T22:14:07.042Z stream state=streaming->backoff node=eu1 peer=us2 lsn=0/5A3F210
//   retry_ms=400: connection reset                              (on one line)
//
// Level letter, UTC, event, key=value in the order given, and what cannot be put into keys. Info is
// rare enough to read; a warning may heal by itself; an error needs a person. Row values and
// passwords are never logged.
//
// Every function is thread-safe. A line is written as a whole and at once.
#pragma once

#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace bdr {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// A key and its value: text or a number. Values with spaces, quotes or line ends are quoted and
// escaped, so that a line stays a line and can be taken apart again.
struct LogField {
  LogField(absl::string_view k, const absl::AlphaNum& v) : key(k), value(v.Piece()) {}
  absl::string_view key;
  std::string value;
};
using LogFields = std::initializer_list<LogField>;

void LogDebug(absl::string_view event, LogFields fields, absl::string_view text = "");
void LogInfo(absl::string_view event, LogFields fields, absl::string_view text = "");
void LogWarning(absl::string_view event, LogFields fields, absl::string_view text = "");
void LogError(absl::string_view event, LogFields fields, absl::string_view text = "");

// What is less serious is dropped, cheaply. Info at the start of a program.
void SetLogLevel(LogLevel level);
// "debug", "info", "warning", "error"; kInvalidArgument for anything else.
absl::Status SetLogLevel(absl::string_view name);

// Adds lines to the end of `path` from now on; "" is standard error, as at the start of a program.
// A file that was renamed or removed is begun anew with the next line, so nothing needs to be told
// when logs are rotated. An error leaves the log where it was.
absl::Status SetLogFile(const std::string& path);

// The line that is logged, without its end.
std::string FormatLogLine(LogLevel level, absl::Time time, absl::string_view event,
                          LogFields fields, absl::string_view text);

}  // namespace bdr
