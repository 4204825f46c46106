#include "base/logging.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <sys/stat.h>

#include <atomic>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "base/log_always.h"
#include "base/mutex.h"

namespace bdr {
namespace {

std::shared_ptr<spdlog::logger> MakeLogger(spdlog::sink_ptr sink) {
  auto logger = std::make_shared<spdlog::logger>("bdr", std::move(sink));
  logger->set_pattern("%v");
  logger->set_level(spdlog::level::trace);
  // The last line before a crash is the one that is wanted.
  logger->flush_on(spdlog::level::trace);
  return logger;
}

// Which file it is, whatever its name.
struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileId&) const = default;
};

// Of none: all zeros.
FileId FileAt(const std::string& path) {
  struct stat found = {};
  if (stat(path.c_str(), &found) != 0) return {};
  return {.device = found.st_dev, .inode = found.st_ino};
}

struct State {
  std::atomic<LogLevel> level{LogLevel::kInfo};
  Mutex mu;
  std::shared_ptr<spdlog::logger> logger ABSL_GUARDED_BY(mu) =
      MakeLogger(std::make_shared<spdlog::sinks::stderr_sink_mt>());
  std::string path ABSL_GUARDED_BY(mu);  // empty: standard error
  FileId file ABSL_GUARDED_BY(mu);       // that is open under `path`
};

// Never destroyed: threads may log while the program exits.
State& TheState() {
  static State& state = *new State;
  return state;
}

void AppendEscaped(absl::string_view text, bool quoted, std::string* out) {
  for (const char c : text) {
    switch (c) {
      case '\n':
        *out += "\\n";
        break;
      case '\r':
        *out += "\\r";
        break;
      case '\t':
        *out += "\\t";
        break;
      case '"':
      case '\\':
        if (quoted) *out += '\\';
        *out += c;
        break;
      default:
        // Other control characters could drive a terminal; UTF-8 stays as it is.
        if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
          absl::StrAppendFormat(out, "\\x%02x", static_cast<unsigned char>(c));
        } else {
          *out += c;
        }
    }
  }
}

bool NeedsQuotes(absl::string_view value) {
  if (value.empty()) return true;
  for (const char c : value) {
    if (c == ' ' || c == '"' || c == '\\' || c == '=' ||
        absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
      return true;
    }
  }
  return false;
}

// Somebody has renamed or removed the file, to begin another (logrotate): without this, lines would
// go to the old one for ever, and its room would not be given back. As long as there can be no new
// one, the old one is better than none.
void FollowName(State& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.mu) {
  if (state.path.empty() || FileAt(state.path) == state.file) return;
  try {
    state.logger = MakeLogger(std::make_shared<spdlog::sinks::basic_file_sink_mt>(state.path));
    state.file = FileAt(state.path);
  } catch (const std::exception&) {
  }
}

void Write(LogLevel level, absl::string_view event, LogFields fields, absl::string_view text) {
  State& state = TheState();
  const std::string line = FormatLogLine(level, absl::Now(), event, fields, text);
  std::shared_ptr<spdlog::logger> logger;
  {
    MutexLock lock(&state.mu);
    FollowName(state);
    logger = state.logger;
  }
  logger->info(spdlog::string_view_t(line.data(), line.size()));
}

void Log(LogLevel level, absl::string_view event, LogFields fields, absl::string_view text) {
  if (level < TheState().level.load(std::memory_order_relaxed)) return;
  Write(level, event, fields, text);
}

}  // namespace

std::string FormatLogLine(LogLevel level, absl::Time time, absl::string_view event,
                          LogFields fields, absl::string_view text) {
  std::string line(1, "DIWE"[static_cast<int>(level)]);
  absl::StrAppend(&line, " ", absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone()),
                  " ", event);
  for (const LogField& field : fields) {
    absl::StrAppend(&line, " ", field.key, "=");
    const bool quoted = NeedsQuotes(field.value);
    if (quoted) line += '"';
    AppendEscaped(field.value, quoted, &line);
    if (quoted) line += '"';
  }
  if (!text.empty()) {
    line += ": ";
    AppendEscaped(text, /*quoted=*/false, &line);
  }
  return line;
}

void LogDebug(absl::string_view event, LogFields fields, absl::string_view text) {
  Log(LogLevel::kDebug, event, fields, text);
}
void LogInfo(absl::string_view event, LogFields fields, absl::string_view text) {
  Log(LogLevel::kInfo, event, fields, text);
}
void LogWarning(absl::string_view event, LogFields fields, absl::string_view text) {
  Log(LogLevel::kWarning, event, fields, text);
}
void LogError(absl::string_view event, LogFields fields, absl::string_view text) {
  Log(LogLevel::kError, event, fields, text);
}

void LogAlways(absl::string_view event, LogFields fields) {
  Write(LogLevel::kInfo, event, fields, "");
}

void SetLogLevel(LogLevel level) { TheState().level.store(level, std::memory_order_relaxed); }

absl::Status SetLogLevel(absl::string_view name) {
  const std::pair<absl::string_view, LogLevel> levels[] = {{"debug", LogLevel::kDebug},
                                                           {"info", LogLevel::kInfo},
                                                           {"warning", LogLevel::kWarning},
                                                           {"error", LogLevel::kError}};
  for (const auto& [known, level] : levels) {
    if (name != known) continue;
    SetLogLevel(level);
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no log level \"", name, "\"; use debug, info, warning or error"));
}

absl::Status SetLogFile(const std::string& path) {
  std::shared_ptr<spdlog::logger> logger;
  try {
    if (path.empty()) {
      logger = MakeLogger(std::make_shared<spdlog::sinks::stderr_sink_mt>());
    } else {
      logger = MakeLogger(std::make_shared<spdlog::sinks::basic_file_sink_mt>(path));
    }
  } catch (const std::exception& e) {
    return absl::PermissionDeniedError(
        absl::StrCat("cannot write log file \"", path, "\": ", e.what()));
  }
  State& state = TheState();
  MutexLock lock(&state.mu);
  // The one before goes when the last thread that writes to it is done.
  state.logger = std::move(logger);
  state.path = path;
  state.file = path.empty() ? FileId() : FileAt(path);
  return absl::OkStatus();
}

}  // namespace bdr
