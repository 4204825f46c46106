// Certificates of a test's own: one authority, and a key and certificate for each process.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bdr::harness {

class CertificateAuthority {
 public:
  // Writes FOLDER/ca.crt. The authority's key stays in memory.
  static absl::StatusOr<std::unique_ptr<CertificateAuthority>> Create(const std::string& folder);
  ~CertificateAuthority();
  CertificateAuthority(const CertificateAuthority&) = delete;
  CertificateAuthority& operator=(const CertificateAuthority&) = delete;

  // Writes FOLDER/NAME.crt and FOLDER/NAME.key: of that name and role, valid for NAME, localhost,
  // 127.0.0.1 and the address, if there is one, as server and as client.
  absl::Status Issue(const std::string& name, const std::string& role,
                     absl::string_view address = "");

  std::string ca_file() const { return folder_ + "/ca.crt"; }
  std::string certificate_file(absl::string_view name) const;
  std::string key_file(absl::string_view name) const;

 private:
  struct Impl;
  CertificateAuthority(std::string folder, std::unique_ptr<Impl> impl);
  const std::string folder_;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace bdr::harness
