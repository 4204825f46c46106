// What a certificate says of when and where it is good. Who is meant by it says peer_identity.h.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace bdr {

// Of the first certificate in the PEM file at `path`. kFailedPrecondition if there is none.
absl::StatusOr<absl::Time> CertificateEnds(const std::string& path);

// kFailedPrecondition, with the hosts that it does name and how to get another, unless the first
// certificate in the file names `host`, a DNS name or an address, as who connects there looks at
// it.
absl::Status CheckCertificateHost(const std::string& path, absl::string_view host);

}  // namespace bdr
