// Who may call what: the one table of all calls, and its check before any of our code sees a call.
//
// A call that is not in the table is refused to everybody, so a new one cannot be forgotten: a test
// goes through all services. docs/security.md shows the same table.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/peer_identity.h"

namespace grpc {
class AuthMetadataProcessor;
}

namespace bdr {

// One call. Beyond it, the handlers of `Report`, `Subscribe`, `FetchRows`, `AcquireLock` and
// `ReleaseLock` check that a node speaks for itself.
struct AccessRule {
  absl::string_view method;  // as gRPC names it: "/bdr.v1.ControlPlane/AddNode"
  bool node = false;
  bool server = false;
  bool admin = false;
  bool viewer = false;
  bool audited = false;  // a person changes something by it: base/audit.h writes it down

  bool Allows(Role role) const;
};

absl::Span<const AccessRule> AccessRules();
// Null if the call is not in the table.
const AccessRule* FindAccessRule(absl::string_view method);

// Whoever is insecure may do all that is in the table. kPermissionDenied names the roles that may.
absl::Status CheckAccess(const PeerIdentity& identity, absl::string_view method);

// For TLS credentials of servers (MakeServerCredentials() sets it): ends each call that its
// caller's certificate does not allow, and logs it, once for each caller and call.
std::shared_ptr<grpc::AuthMetadataProcessor> MakeAccessCheck();

// The table of docs/security.md.
std::string AccessMarkdownTable();

}  // namespace bdr
