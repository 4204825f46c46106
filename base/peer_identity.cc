#include "base/peer_identity.h"

#include <grpc/grpc_security_constants.h>
#include <grpcpp/security/auth_context.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace bdr {
namespace {

using OwnedX509 = std::unique_ptr<X509, void (*)(X509*)>;

OwnedX509 ParseFirst(absl::string_view pem) {
  BIO* const bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509* const certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  ERR_clear_error();  // the queue belongs to the thread, and gRPC reads it as well
  return {certificate, &X509_free};
}

// The values of one attribute of the subject, as UTF-8. What cannot be shown as it is becomes '?':
// a name must not be able to look like another.
std::vector<std::string> ValuesOf(const X509* certificate, int nid) {
  std::vector<std::string> values;
  const X509_NAME* const subject = X509_get_subject_name(certificate);
  for (int at = X509_NAME_get_index_by_NID(subject, nid, -1); at >= 0;
       at = X509_NAME_get_index_by_NID(subject, nid, at)) {
    unsigned char* bytes = nullptr;
    const int size =
        ASN1_STRING_to_UTF8(&bytes, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (size < 0) continue;
    std::string value(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
    OPENSSL_free(bytes);
    std::replace_if(
        value.begin(), value.end(), [](unsigned char c) { return absl::ascii_iscntrl(c); }, '?');
    values.push_back(std::move(value));
  }
  ERR_clear_error();
  return values;
}

std::string RoleNames() {
  return absl::StrJoin(kRoles, ", ",
                       [](std::string* out, Role role) { absl::StrAppend(out, ToString(role)); });
}

absl::Status Nobody(absl::string_view problem) {
  return absl::PermissionDeniedError(absl::StrCat(
      "the certificate ", problem, ": it needs one CN, the name, and one OU out of ", RoleNames(),
      ", the role; issue one with \"bdrctl cert issue NAME --role ROLE\" or, with "
      "openssl, -subj /OU=ROLE/CN=NAME"));
}

absl::StatusOr<PeerIdentity> IdentityOf(const X509* certificate) {
  const std::vector<std::string> names = ValuesOf(certificate, NID_commonName);
  if (names.size() != 1 || names[0].empty()) {
    return Nobody(absl::StrCat("has ", names.size(), " common names (CN)"));
  }
  const std::vector<std::string> units = ValuesOf(certificate, NID_organizationalUnitName);
  std::vector<Role> roles;
  for (const std::string& unit : units) {
    const absl::StatusOr<Role> role = ParseRole(unit);
    if (role.ok()) roles.push_back(*role);
  }
  if (roles.empty()) {
    return Nobody(absl::StrCat(
        "of \"", names[0], "\" lacks a role",
        units.empty() ? " (it has no OU)"
                      : absl::StrCat(" (its OU is \"", absl::StrJoin(units, "\", \""), "\")")));
  }
  if (roles.size() > 1) return Nobody(absl::StrCat("of \"", names[0], "\" has several roles"));
  return PeerIdentity{.role = roles[0], .name = names[0]};
}

}  // namespace

absl::string_view ToString(Role role) {
  switch (role) {
    case Role::kNode:
      return "node";
    case Role::kServer:
      return "server";
    case Role::kAdmin:
      return "admin";
    case Role::kViewer:
      return "viewer";
  }
  return "unknown";
}

absl::StatusOr<Role> ParseRole(absl::string_view name) {
  for (const Role role : kRoles) {
    if (name == ToString(role)) return role;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("there is no role \"", name, "\": take one of ", RoleNames()));
}

std::string ToString(const PeerIdentity& identity) {
  if (identity.insecure) return "insecure";
  return absl::StrCat(ToString(identity.role), ":", identity.name);
}

absl::StatusOr<PeerIdentity> IdentityOfPem(absl::string_view pem) {
  const OwnedX509 certificate = ParseFirst(pem);
  if (certificate == nullptr) return absl::InvalidArgumentError("there is no PEM certificate");
  return IdentityOf(certificate.get());
}

absl::StatusOr<PeerIdentity> IdentityOf(const grpc::AuthContext& context) {
  const std::vector<grpc::string_ref> pem =
      context.FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME);
  if (pem.size() == 1) return IdentityOfPem(absl::string_view(pem[0].data(), pem[0].size()));
  // MakeServerCredentials() gives out plaintext for loopback addresses alone.
  for (const grpc::string_ref& type :
       context.FindPropertyValues(GRPC_TRANSPORT_SECURITY_TYPE_PROPERTY_NAME)) {
    if (type != "insecure") {
      return absl::PermissionDeniedError("the connection came without a certificate");
    }
  }
  return PeerIdentity{.role = Role::kAdmin, .insecure = true};
}

absl::Status CheckSpeaksFor(const PeerIdentity& identity, absl::string_view node) {
  if (identity.insecure) return absl::OkStatus();
  if (identity.role == Role::kNode && identity.name == node) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat("certificate ", ToString(identity), " does not speak for node \"", node,
                   "\": that takes the node's own, with CN=", node, " and OU=node"));
}

}  // namespace bdr
