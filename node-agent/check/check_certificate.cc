#include "node-agent/check/check_certificate.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/certificate_hosts.h"
#include "base/config.h"
#include "base/grpc_security.h"
#include "postgres/setup/findings.h"

namespace bdr::agent {
namespace {

using pg_setup::Findings;

constexpr absl::Duration kSoon = absl::Hours(24 * 30);

void CheckEnd(const std::string& path, Findings& findings) {
  const absl::StatusOr<absl::Time> ends = CertificateEnds(path);
  if (!ends.ok()) return findings.Error(std::string(ends.status().message()));
  const std::string day = absl::FormatTime("%Y-%m-%d", *ends, absl::UTCTimeZone());
  if (*ends - absl::Now() > kSoon) {
    findings.Ok(absl::StrCat("the certificate ends on ", day));
  } else {
    findings.Warning(absl::StrCat("certificate \"", path, "\" ends on ", day,
                                  ": issue the next one and start the agent anew before that"));
  }
}

// Where it listens says less than where others go: it may be every address of the machine, or one
// behind a forwarded port.
void CheckHost(const AgentConfig& config, const Member* self, Findings& findings) {
  const auto address = config::ParseHostPort(self != nullptr ? self->address : config.listen);
  if (!address.ok()) return findings.Error(std::string(address.status().message()));
  if (address->host == "0.0.0.0" || address->host == "::") {
    findings.Warning(
        "whether the certificate names the host that others go to is not known before \"bdrctl "
        "node add\" has named it");
    return;
  }
  const absl::Status names = CheckCertificateHost(config.security.certificate, address->host);
  if (names.ok()) {
    findings.Ok(absl::StrCat("the certificate names host \"", address->host, "\""));
  } else if (self != nullptr) {
    findings.Error(std::string(names.message()));
  } else {
    findings.Warning(std::string(names.message()));
  }
}

}  // namespace

pg_setup::Checked CheckCertificate(const AgentConfig& config, const Member* self) {
  Findings findings;
  if (config.security.insecure) {
    findings.Ok("there is none (insecure): plaintext, on this machine alone");
    return {"certificate", findings.Take()};
  }
  const absl::Status own = CheckOwnIdentity(config.security, Role::kNode, config.node);
  if (!own.ok()) {
    findings.Error(std::string(own.message()));
    return {"certificate", findings.Take()};
  }
  findings.Ok(absl::StrCat("\"", config.security.certificate, "\" is that of node \"", config.node,
                           "\", fits its key, and \"", config.security.ca, "\" has signed it"));
  CheckEnd(config.security.certificate, findings);
  CheckHost(config, self, findings);
  return {"certificate", findings.Take()};
}

}  // namespace bdr::agent
