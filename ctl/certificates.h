// Makes the certificates of a cluster, for whoever has no CA of his own: EC keys on P-256, and
// subjects as base/peer_identity.h reads them.
//
// What listens (node, server) may be reached by the hosts that its certificate names, and connects
// to others as well. A person's (admin, viewer) is good for a client alone, so that nobody can pose
// as a server with it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/peer_identity.h"

namespace bdr::ctl {

struct KeyPair {
  std::string certificate;  // PEM
  std::string key;          // PEM, without a passphrase
};

struct CertificateWish {
  std::string name;
  Role role = Role::kViewer;
  std::vector<std::string> hosts = {};  // DNS names and IP addresses
  int days = 0;
};

// A CA that signs itself. kInvalidArgument for days that there are not.
absl::StatusOr<KeyPair> MakeAuthority(int days);

// Ends with the CA at the latest. kInvalidArgument for a name, host or number of days that cannot
// be, and for hosts that lack or are too many for the role; kFailedPrecondition if the CA is none,
// has ended, or its key is not its own.
absl::StatusOr<KeyPair> IssueCertificate(const KeyPair& authority, const CertificateWish& wish);

struct CertificateInfo {
  absl::StatusOr<PeerIdentity> identity = absl::UnknownError("");  // or why it is nobody's
  bool authority = false;
  std::string subject;  // "OU=node, CN=eu1"
  std::string issuer;
  std::string serial;  // hex
  std::vector<std::string> hosts;
  int64_t begins_us = 0;  // µs since 1970
  int64_t ends_us = 0;
};
// Of the first certificate in `pem`. kInvalidArgument if there is none.
absl::StatusOr<CertificateInfo> DescribeCertificate(const std::string& pem);

}  // namespace bdr::ctl
