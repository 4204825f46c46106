#include "ctl/certificates.h"

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace bdr::ctl {
namespace {

template <typename T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* object) const { Free(object); }
};
template <typename T, void (*Free)(T*)>
using Owned = std::unique_ptr<T, Deleter<T, Free>>;

void FreeBio(BIO* bio) { BIO_free(bio); }
using OwnedBio = Owned<BIO, FreeBio>;
using OwnedKey = Owned<EVP_PKEY, EVP_PKEY_free>;
using OwnedX509 = Owned<X509, X509_free>;

constexpr int kMostDays = 100 * 365;
constexpr size_t kLongestName = 64;  // of a CN, by RFC 5280
// Clocks differ, and a certificate is used as soon as it is there.
constexpr long kBackdatedSeconds = 3600;
constexpr int kSerialBits = 127;  // positive, and never twice

OwnedBio Reader(const std::string& text) {
  return OwnedBio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string TextOf(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(size));
}

absl::Status OpenSslFailed(const char* what) {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  const absl::Status status = absl::InternalError(absl::StrCat(
      "OpenSSL cannot ", what, ": ", reason == nullptr ? "it does not say why" : reason));
  ERR_clear_error();
  return status;
}

absl::Status CheckDays(int days) {
  if (days >= 1 && days <= kMostDays) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a certificate cannot be good for ", days, " days: take 1 to ", kMostDays));
}

// It is also the name of files, and stands in logs.
absl::Status CheckName(const CertificateWish& wish) {
  const bool node = wish.role == Role::kNode;
  const bool good = !wish.name.empty() && wish.name.size() <= kLongestName &&
                    (node ? absl::ascii_islower(static_cast<unsigned char>(wish.name[0]))
                          : absl::ascii_isalnum(static_cast<unsigned char>(wish.name[0]))) &&
                    std::all_of(wish.name.begin(), wish.name.end(), [node](unsigned char c) {
                      if (node) return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-';
                      return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.' || c == '@';
                    });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "name \"", wish.name, "\" cannot be used: ",
      node ? "take the node's, a small letter and then small letters, digits or '-'"
           : "take a letter or digit, then letters, digits, '-', '_', '.' or '@', 64 at most"));
}

bool IsAddress(const std::string& host) {
  unsigned char bytes[sizeof(in6_addr)];
  return inet_pton(AF_INET, host.c_str(), bytes) == 1 ||
         inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

absl::StatusOr<std::string> AlternativeNames(const CertificateWish& wish) {
  const bool listens = wish.role == Role::kNode || wish.role == Role::kServer;
  if (listens == wish.hosts.empty()) {
    return absl::InvalidArgumentError(
        listens ? absl::StrCat("a ", ToString(wish.role),
                               " is reached by others: name each host by which they do with --host")
                : absl::StrCat("a certificate of role ", ToString(wish.role),
                               " is for a person, who is not reached by a host: leave out --host"));
  }
  std::vector<std::string> names;
  for (const std::string& host : wish.hosts) {
    if (IsAddress(host)) {
      names.push_back(absl::StrCat("IP:", host));
      continue;
    }
    const bool good = !host.empty() && host.size() <= 253 &&
                      std::all_of(host.begin(), host.end(), [](unsigned char c) {
                        return absl::ascii_isalnum(c) || c == '-' || c == '.' || c == '_';
                      });
    if (!good) {
      return absl::InvalidArgumentError(absl::StrCat(
          "host \"", host, "\" is neither a DNS name nor an IP address (without a port)"));
    }
    names.push_back(absl::StrCat("DNS:", host));
  }
  return absl::StrJoin(names, ",");
}

bool AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  if (extension == nullptr) return false;
  const bool added = X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

bool AddSubject(X509_NAME* subject, const char* field, absl::string_view value) {
  return X509_NAME_add_entry_by_txt(subject, field, MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(value.data()),
                                    static_cast<int>(value.size()), -1, 0) == 1;
}

bool SetRandomSerial(X509* certificate) {
  const Owned<BIGNUM, BN_free> number(BN_new());
  return BN_rand(number.get(), kSerialBits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

// Everything that a CA's and any other certificate have alike.
absl::StatusOr<OwnedX509> Begin(EVP_PKEY* key, int days) {
  OwnedX509 certificate(X509_new());
  if (certificate == nullptr || X509_set_version(certificate.get(), X509_VERSION_3) != 1 ||
      !SetRandomSerial(certificate.get()) ||
      X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -kBackdatedSeconds) == nullptr ||
      X509_time_adj_ex(X509_getm_notAfter(certificate.get()), days, 0, nullptr) == nullptr ||
      X509_set_pubkey(certificate.get(), key) != 1) {
    return OpenSslFailed("make a certificate");
  }
  return certificate;
}

absl::StatusOr<KeyPair> ToPem(X509* certificate, EVP_PKEY* key) {
  const OwnedBio certificate_text(BIO_new(BIO_s_mem()));
  const OwnedBio key_text(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(certificate_text.get(), certificate) != 1 ||
      PEM_write_bio_PrivateKey(key_text.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return OpenSslFailed("write a certificate");
  }
  return KeyPair{.certificate = TextOf(certificate_text.get()), .key = TextOf(key_text.get())};
}

int NoPassword(char*, int, int, void*) { return -1; }

OwnedX509 ParseCertificate(const std::string& pem) {
  OwnedX509 certificate(PEM_read_bio_X509(Reader(pem).get(), nullptr, &NoPassword, nullptr));
  ERR_clear_error();
  return certificate;
}

int64_t MicrosOf(const ASN1_TIME* time) {
  std::tm parts = {};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return 0;
  return static_cast<int64_t>(timegm(&parts)) * 1'000'000;
}

std::string SubjectText(const X509_NAME* name) {
  const OwnedBio bio(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_ONELINE & ~XN_FLAG_SPC_EQ);
  return TextOf(bio.get());
}

std::vector<std::string> HostsOf(X509* certificate) {
  std::vector<std::string> hosts;
  auto* const names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names, i);
    if (name->type == GEN_DNS) {
      hosts.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                         static_cast<size_t>(ASN1_STRING_length(name->d.dNSName)));
    } else if (name->type == GEN_IPADD) {
      const int size = ASN1_STRING_length(name->d.iPAddress);
      char text[INET6_ADDRSTRLEN] = "";
      inet_ntop(size == sizeof(in_addr) ? AF_INET : AF_INET6,
                ASN1_STRING_get0_data(name->d.iPAddress), text, sizeof(text));
      hosts.emplace_back(text);
    }
  }
  GENERAL_NAMES_free(names);
  return hosts;
}

}  // namespace

absl::StatusOr<KeyPair> MakeAuthority(int days) {
  RETURN_IF_ERROR(CheckDays(days));
  const OwnedKey key(EVP_EC_gen("P-256"));
  if (key == nullptr) return OpenSslFailed("make a key");
  ASSIGN_OR_RETURN(const OwnedX509 certificate, Begin(key.get(), days));
  X509* const ca = certificate.get();
  if (!AddSubject(X509_get_subject_name(ca), "CN", "bdr-ca") ||
      X509_set_issuer_name(ca, X509_get_subject_name(ca)) != 1 ||
      !AddExtension(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !AddExtension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !AddExtension(ca, ca, NID_subject_key_identifier, "hash") ||
      X509_sign(ca, key.get(), EVP_sha256()) == 0) {
    return OpenSslFailed("make a CA");
  }
  return ToPem(ca, key.get());
}

absl::StatusOr<KeyPair> IssueCertificate(const KeyPair& authority, const CertificateWish& wish) {
  RETURN_IF_ERROR(CheckName(wish));
  RETURN_IF_ERROR(CheckDays(wish.days));
  ASSIGN_OR_RETURN(const std::string hosts, AlternativeNames(wish));
  const OwnedX509 ca = ParseCertificate(authority.certificate);
  const OwnedKey ca_key(
      PEM_read_bio_PrivateKey(Reader(authority.key).get(), nullptr, &NoPassword, nullptr));
  ERR_clear_error();
  if (ca == nullptr || X509_check_ca(ca.get()) == 0) {
    return absl::FailedPreconditionError("ca.crt holds no certificate of a CA");
  }
  if (ca_key == nullptr || X509_check_private_key(ca.get(), ca_key.get()) != 1) {
    ERR_clear_error();
    return absl::FailedPreconditionError(
        "ca.key is not the key of ca.crt, or has a passphrase: bring the two that belong together");
  }
  if (X509_cmp_current_time(X509_get0_notAfter(ca.get())) <= 0) {
    return absl::FailedPreconditionError(
        "the CA has ended: make a new one with \"bdrctl cert ca\", and certificates by it");
  }
  const OwnedKey key(EVP_EC_gen("P-256"));
  if (key == nullptr) return OpenSslFailed("make a key");
  ASSIGN_OR_RETURN(const OwnedX509 certificate, Begin(key.get(), wish.days));
  X509* const leaf = certificate.get();
  if (ASN1_TIME_compare(X509_get0_notAfter(leaf), X509_get0_notAfter(ca.get())) > 0) {
    X509_set1_notAfter(leaf, X509_get0_notAfter(ca.get()));
  }
  X509_NAME* const subject = X509_get_subject_name(leaf);
  if (!AddSubject(subject, "OU", ToString(wish.role)) || !AddSubject(subject, "CN", wish.name) ||
      X509_set_issuer_name(leaf, X509_get_subject_name(ca.get())) != 1 ||
      !AddExtension(leaf, ca.get(), NID_basic_constraints, "critical,CA:FALSE") ||
      !AddExtension(leaf, ca.get(), NID_key_usage, "critical,digitalSignature") ||
      !AddExtension(leaf, ca.get(), NID_ext_key_usage,
                    hosts.empty() ? "clientAuth" : "serverAuth,clientAuth") ||
      (!hosts.empty() && !AddExtension(leaf, ca.get(), NID_subject_alt_name, hosts)) ||
      !AddExtension(leaf, ca.get(), NID_subject_key_identifier, "hash") ||
      X509_sign(leaf, ca_key.get(), EVP_sha256()) == 0) {
    return OpenSslFailed("issue a certificate");
  }
  return ToPem(leaf, key.get());
}

absl::StatusOr<CertificateInfo> DescribeCertificate(const std::string& pem) {
  const OwnedX509 certificate = ParseCertificate(pem);
  if (certificate == nullptr) return absl::InvalidArgumentError("there is no PEM certificate");
  CertificateInfo info;
  info.identity = IdentityOfPem(pem);
  info.authority = X509_check_ca(certificate.get()) != 0;
  info.subject = SubjectText(X509_get_subject_name(certificate.get()));
  info.issuer = SubjectText(X509_get_issuer_name(certificate.get()));
  const Owned<BIGNUM, BN_free> serial(
      ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate.get()), nullptr));
  char* const hex = BN_bn2hex(serial.get());
  info.serial = absl::AsciiStrToLower(hex);
  OPENSSL_free(hex);
  info.hosts = HostsOf(certificate.get());
  info.begins_us = MicrosOf(X509_get0_notBefore(certificate.get()));
  info.ends_us = MicrosOf(X509_get0_notAfter(certificate.get()));
  return info;
}

}  // namespace bdr::ctl
