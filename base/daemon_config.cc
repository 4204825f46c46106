#include "base/daemon_config.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace bdr {

void DeclareListeners(config::Declaration* declaration, DaemonConfig* config) {
  declaration->Path("data_dir", &config->data_dir,
                    "folder of its own, on a disk that keeps what was synced; created if missing",
                    {.required = true});
  declaration->Address("listen", &config->listen, "address on which it serves gRPC",
                       {.required = true});
  declaration->Address("metrics_listen", &config->metrics_listen,
                       "address on which it serves /metrics, /livez and /readyz over plain HTTP");
}

void DeclareSecurity(config::Declaration* declaration, SecurityOptions* security) {
  declaration->Bool("insecure", &security->insecure,
                    "plaintext gRPC without certificates; loopback addresses only",
                    {.default_value = "false"});
  declaration->Path("tls.certificate", &security->certificate,
                    "PEM file: own certificate, shown to whoever connects and is connected to");
  declaration->Path("tls.key", &security->key,
                    "PEM file: its private key, readable by its owner alone");
  declaration->Path("tls.ca", &security->ca,
                    "PEM file: who signs the certificates of all agents, servers and tools");
}

void DeclareLog(config::Declaration* declaration, DaemonConfig* config) {
  declaration->String("log.level", &config->log_level, "least serious level that is logged",
                      {.default_value = "info", .one_of = {"debug", "info", "warning", "error"}});
  declaration->Path("log.file", &config->log_file,
                    "file that log lines are added to; standard error if it is not set");
}

absl::Status CheckSecurity(const std::string& path, const SecurityOptions& security,
                           const std::vector<std::pair<std::string, std::string>>& addresses) {
  std::vector<std::string> missing;
  if (security.certificate.empty()) missing.push_back("tls.certificate");
  if (security.key.empty()) missing.push_back("tls.key");
  if (security.ca.empty()) missing.push_back("tls.ca");

  if (!security.insecure) {
    if (missing.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": missing key ", absl::StrJoin(missing, ", "),
                     ": connections are encrypted and both sides show a certificate; on one "
                     "machine alone, \"insecure: true\" does without"));
  }
  if (missing.size() < 3) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": \"insecure: true\" and tls files exclude each other; remove one of them"));
  }
  for (const auto& [key, address] : addresses) {
    if (address.empty()) continue;
    const auto parsed = config::ParseHostPort(address);
    if (!parsed.ok()) return parsed.status();
    if (config::IsLoopback(parsed->host)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": \"insecure: true\" refused: ", key, " \"", address,
                     "\" is not a loopback address, so anyone on the network could read and write "
                     "the data; set tls.certificate, tls.key and tls.ca instead"));
  }
  return absl::OkStatus();
}

}  // namespace bdr
