#include "base/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"

namespace bdr {
namespace {

// Fields of /proc/self/stat, counted from the state that follows the name: see proc(5).
constexpr size_t kUserTicks = 11;
constexpr size_t kSystemTicks = 12;
constexpr size_t kStartTicks = 19;
constexpr size_t kVirtualBytes = 20;
constexpr size_t kResidentPages = 21;
constexpr size_t kFields = 22;

// Empty if it cannot be read.
std::vector<double> ProcessStat() {
  std::ifstream file("/proc/self/stat");
  std::stringstream text;
  text << file.rdbuf();
  const std::string line = text.str();
  // The name may hold anything, also parentheses and spaces.
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream rest(line.substr(name_end + 1));
  std::vector<double> fields;
  std::string field;
  while (fields.size() < kFields && rest >> field) {
    double number = 0;
    (void)absl::SimpleAtod(field, &number);  // the state is a letter
    fields.push_back(number);
  }
  return fields.size() == kFields ? fields : std::vector<double>{};
}

double BootTime() {
  std::ifstream file("/proc/stat");
  std::string line;
  while (std::getline(file, line)) {
    double seconds = 0;
    if (absl::StartsWith(line, "btime ") && absl::SimpleAtod(line.substr(6), &seconds)) {
      return seconds;
    }
  }
  return 0;
}

int OpenFiles() {
  DIR* const folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  int count = 0;
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] != '.') ++count;
  }
  closedir(folder);
  return count - 1;  // the folder itself was open
}

}  // namespace

std::vector<MetricInfo> ProcessMetrics() {
  return {
      {.name = "bdr_build_info",
       .help = "1, with the program and its version as labels",
       .labels = {"program", "version"}},
      {.name = "bdr_certificate_expiry_timestamp_seconds",
       .help = "when the first certificate of the file that is in use expires, since 1970",
       .labels = {"file"}},
      {.name = "process_cpu_seconds_total",
       .type = MetricType::kCounter,
       .help = "processor time that the process has used, user's and system's"},
      {.name = "process_resident_memory_bytes", .help = "resident memory of the process"},
      {.name = "process_virtual_memory_bytes", .help = "address space of the process"},
      {.name = "process_start_time_seconds", .help = "when the process started, since 1970"},
      {.name = "process_open_fds", .help = "file descriptors that are open"},
      {.name = "process_max_fds", .help = "file descriptors that may be open"},
  };
}

void ShowProcess(absl::string_view program, absl::string_view version, Metrics* metrics) {
  metrics
      ->GetGauge("bdr_build_info",
                 {{"program", std::string(program)}, {"version", std::string(version)}})
      .Set(1);
  if (const std::vector<double> stat = ProcessStat(); !stat.empty()) {
    const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
    metrics->GetCounter("process_cpu_seconds_total")
        .SetTotal((stat[kUserTicks] + stat[kSystemTicks]) / ticks);
    metrics->GetGauge("process_virtual_memory_bytes").Set(stat[kVirtualBytes]);
    metrics->GetGauge("process_resident_memory_bytes")
        .Set(stat[kResidentPages] * static_cast<double>(sysconf(_SC_PAGESIZE)));
    if (const double boot = BootTime(); boot > 0) {
      metrics->GetGauge("process_start_time_seconds").Set(boot + stat[kStartTicks] / ticks);
    }
  }
  metrics->GetGauge("process_open_fds").Set(OpenFiles());
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    metrics->GetGauge("process_max_fds").Set(static_cast<double>(limit.rlim_cur));
  }
}

void ShowCertificates(const std::vector<std::pair<std::string, absl::Time>>& expiries,
                      Metrics* metrics) {
  for (const auto& [file, expires] : expiries) {
    metrics->GetGauge("bdr_certificate_expiry_timestamp_seconds", {{"file", file}})
        .Set(static_cast<double>(absl::ToUnixSeconds(expires)));
  }
}

uint64_t ResidentBytes() {
  const std::vector<double> stat = ProcessStat();
  return stat.empty() ? 0
                      : static_cast<uint64_t>(stat[kResidentPages]) *
                            static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace bdr
