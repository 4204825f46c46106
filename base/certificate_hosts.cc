#include "base/certificate_hosts.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace bdr {
namespace {

using OwnedX509 = std::unique_ptr<X509, void (*)(X509*)>;

absl::StatusOr<OwnedX509> ReadFirst(const std::string& path) {
  BIO* const bio = BIO_new_file(path.c_str(), "r");
  const int error = errno;
  OwnedX509 certificate(
      bio == nullptr ? nullptr : PEM_read_bio_X509(bio, nullptr, nullptr, nullptr), &X509_free);
  BIO_free(bio);
  ERR_clear_error();  // the queue belongs to the thread, and gRPC reads it as well
  if (certificate != nullptr) return certificate;
  return absl::FailedPreconditionError(
      absl::StrCat("certificate \"", path, "\" ",
                   bio == nullptr ? absl::StrCat("cannot be read: ", std::strerror(error))
                                  : std::string("holds no PEM certificate")));
}

std::string TextOf(const ASN1_OCTET_STRING* ip) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(ASN1_STRING_length(ip) == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(ip), text,
            sizeof(text));
  return text;
}

std::vector<std::string> HostsOf(const X509* certificate) {
  std::vector<std::string> hosts;
  auto* const names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names, i);
    if (name->type == GEN_DNS) {
      hosts.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                         static_cast<size_t>(ASN1_STRING_length(name->d.dNSName)));
    } else if (name->type == GEN_IPADD) {
      hosts.push_back(TextOf(name->d.iPAddress));
    }
  }
  GENERAL_NAMES_free(names);
  return hosts;
}

}  // namespace

absl::StatusOr<absl::Time> CertificateEnds(const std::string& path) {
  ASSIGN_OR_RETURN(const OwnedX509 certificate, ReadFirst(path));
  std::tm ends = {};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &ends) != 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("certificate \"", path, "\" does not say when it ends"));
  }
  return absl::FromTM(ends, absl::UTCTimeZone());
}

absl::Status CheckCertificateHost(const std::string& path, absl::string_view host) {
  ASSIGN_OR_RETURN(const OwnedX509 certificate, ReadFirst(path));
  const std::string name(host);
  // No number is a DNS name: 1 only if the address itself stands there.
  if (X509_check_ip_asc(certificate.get(), name.c_str(), 0) == 1 ||
      X509_check_host(certificate.get(), name.data(), name.size(),
                      X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, nullptr) == 1) {
    return absl::OkStatus();
  }
  ERR_clear_error();
  const std::vector<std::string> hosts = HostsOf(certificate.get());
  return absl::FailedPreconditionError(absl::StrCat(
      "certificate \"", path, "\" does not name host \"", host,
      "\" (subjectAltName: ", hosts.empty() ? "none" : absl::StrJoin(hosts, ", "),
      "), so that nobody can connect there; issue one with \"bdrctl cert issue ... --host ", host,
      "\""));
}

}  // namespace bdr
