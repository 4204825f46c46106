// Who is at the other end of a connection: what the subject of its certificate says.
//
// CN is the name (of a node: the node's name), and one OU the role. The TLS handshake has proved
// that the CA signed it; this says what for. Whoever shows no role that we know may do nothing.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace grpc {
class AuthContext;
}

namespace bdr {

enum class Role { kNode, kServer, kAdmin, kViewer };
inline constexpr Role kRoles[] = {Role::kNode, Role::kServer, Role::kAdmin, Role::kViewer};

absl::string_view ToString(Role role);  // "node", "server", "admin", "viewer"
// kInvalidArgument with the roles that there are.
absl::StatusOr<Role> ParseRole(absl::string_view name);

struct PeerIdentity {
  Role role = Role::kViewer;
  std::string name = "";
  bool insecure = false;  // no TLS: somebody on this machine, who is taken for an admin

  friend bool operator==(const PeerIdentity&, const PeerIdentity&) = default;
};

// "admin:anna", or "insecure": for logs.
std::string ToString(const PeerIdentity& identity);

// By the first certificate in `pem`. kInvalidArgument if there is none; kPermissionDenied if it
// does not name one of our roles exactly once and have exactly one CN, with how to issue one that
// does.
absl::StatusOr<PeerIdentity> IdentityOfPem(absl::string_view pem);

// Of who called, by grpc::ServerContextBase::auth_context(). kPermissionDenied as above, and if a
// TLS connection came without a certificate.
absl::StatusOr<PeerIdentity> IdentityOf(const grpc::AuthContext& context);

// Whether it may speak for that node: kPermissionDenied unless it is the node, or insecure.
absl::Status CheckSpeaksFor(const PeerIdentity& identity, absl::string_view node);

}  // namespace bdr
