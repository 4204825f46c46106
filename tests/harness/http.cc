#include "tests/harness/http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace bdr::harness {

absl::StatusOr<HttpResponse> HttpGet(int port, const std::string& path) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::ErrnoToStatus(errno, "cannot create a socket");
  const timeval timeout{.tv_sec = 5, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const std::string request =
      absl::StrCat("GET ", path, " HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
  std::string answer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      send(fd, request.data(), request.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(request.size())) {
    char buffer[65536];
    for (ssize_t n = 0; (n = recv(fd, buffer, sizeof buffer, 0)) > 0;) answer.append(buffer, n);
  }
  close(fd);
  HttpResponse response;
  const size_t body = answer.find("\r\n\r\n");
  // "HTTP/1.1 200 OK"
  if (body == std::string::npos || answer.size() < 12 ||
      !absl::SimpleAtoi(answer.substr(9, 3), &response.code)) {
    return absl::UnavailableError(absl::StrCat("no answer from http://127.0.0.1:", port, path));
  }
  response.body = answer.substr(body + 4);
  return response;
}

Metrics Metrics::Parse(absl::string_view text) {
  Metrics metrics;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (line[0] == '#') continue;
    Sample sample;
    // name{label="value",...} 12.5; values of ours hold neither '"' nor '}' nor ','.
    const size_t space = line.rfind(' ');
    if (space == absl::string_view::npos ||
        !absl::SimpleAtod(line.substr(space + 1), &sample.value)) {
      continue;
    }
    absl::string_view name = line.substr(0, space);
    if (const size_t brace = name.find('{'); brace != absl::string_view::npos) {
      absl::string_view labels = name.substr(brace + 1);
      labels = labels.substr(0, labels.rfind('}'));
      name = name.substr(0, brace);
      for (absl::string_view label : absl::StrSplit(labels, ',', absl::SkipEmpty())) {
        const std::pair<absl::string_view, absl::string_view> parts =
            absl::StrSplit(label, absl::MaxSplits('=', 1));
        if (parts.second.size() < 2) continue;
        sample.labels[std::string(parts.first)] =
            std::string(parts.second.substr(1, parts.second.size() - 2));
      }
    }
    metrics.samples_[std::string(name)].push_back(std::move(sample));
  }
  return metrics;
}

double Metrics::Sum(const std::string& name, const Labels& labels) const {
  const auto it = samples_.find(name);
  if (it == samples_.end()) return 0;
  double sum = 0;
  for (const Sample& sample : it->second) {
    bool matches = true;
    for (const auto& [key, value] : labels) {
      const auto found = sample.labels.find(key);
      matches = matches && found != sample.labels.end() && found->second == value;
    }
    if (matches) sum += sample.value;
  }
  return sum;
}

bool Metrics::Has(const std::string& name) const { return samples_.contains(name); }

}  // namespace bdr::harness
