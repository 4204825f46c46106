// gRPC credentials: TLS with certificates on both sides, or plaintext on this machine alone.
//
// A client without a certificate that the CA signed is refused by the handshake, and each call of
// one that has it by what its certificate says of it (base/access.h). Everything that is wrong with
// the files is said when a program starts, not when the first peer connects. New files are taken up
// at the next start.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/peer_identity.h"
#include "base/security_options.h"

namespace grpc {
class ChannelCredentials;
class ServerCredentials;
}  // namespace grpc

namespace bdr {

// For a server that listens on `address`; every client must show a certificate, and may call what
// its role allows.
// kInvalidArgument if `security` is neither insecure nor complete, or insecure on an address that
// is not a loopback one; kFailedPrecondition if a file cannot be read or the files do not fit each
// other, with the file and what is wrong with it.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const SecurityOptions& security, const std::string& address);

// For a client of `address`: shows our certificate, and wants one that the CA signed for that host.
// The same errors.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(
    const SecurityOptions& security, const std::string& address);

// When the first certificate of each file expires that takes part: ours and the CA. Empty without
// TLS. The same errors as above.
absl::StatusOr<std::vector<std::pair<std::string, absl::Time>>> CertificateExpiries(
    const SecurityOptions& security);

// The checks of a server without making anything: to fail at start if no peer is known yet. The
// same errors, but for addresses.
absl::Status CheckSecurityFiles(const SecurityOptions& security);

// Also whether our own certificate says what we are; a name of "" is any. kFailedPrecondition if it
// says anything else: all that we would ask of others would be refused.
absl::Status CheckOwnIdentity(const SecurityOptions& security, Role role, absl::string_view name);

}  // namespace bdr
