#include "tests/harness/certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "tests/harness/temp_folder.h"

namespace bdr::harness {
namespace {

using Key = std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)>;
using Certificate = std::unique_ptr<X509, void (*)(X509*)>;

std::string TextOf(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<size_t>(size));
  BIO_free(bio);
  return text;
}

std::string Pem(EVP_PKEY* key) {
  BIO* const bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  return TextOf(bio);
}

std::string Pem(X509* certificate) {
  BIO* const bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, certificate);
  return TextOf(bio);
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

// Version 3, valid from an hour ago for ten years, without extensions or signature yet. A role of
// "" is none.
Certificate NewCertificate(const std::string& name, const std::string& role, int serial,
                           EVP_PKEY* key, X509* issuer) {
  Certificate certificate(X509_new(), &X509_free);
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 10L * 365 * 86400);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME* const subject = X509_get_subject_name(certificate.get());
  if (!role.empty()) {
    X509_NAME_add_entry_by_txt(subject, "OU", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(role.c_str()), -1, -1, 0);
  }
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(certificate.get(),
                       issuer != nullptr ? X509_get_subject_name(issuer) : subject);
  return certificate;
}

}  // namespace

struct CertificateAuthority::Impl {
  Key key{nullptr, &EVP_PKEY_free};
  Certificate certificate{nullptr, &X509_free};
  int next_serial = 2;
};

CertificateAuthority::CertificateAuthority(std::string folder, std::unique_ptr<Impl> impl)
    : folder_(std::move(folder)), impl_(std::move(impl)) {}

CertificateAuthority::~CertificateAuthority() = default;

absl::StatusOr<std::unique_ptr<CertificateAuthority>> CertificateAuthority::Create(
    const std::string& folder) {
  auto impl = std::make_unique<Impl>();
  impl->key.reset(EVP_EC_gen("P-256"));
  if (impl->key == nullptr) return absl::InternalError("cannot make a key");
  impl->certificate = NewCertificate("test authority", "", 1, impl->key.get(), nullptr);
  X509* const ca = impl->certificate.get();
  if (!AddExtension(ca, ca, NID_basic_constraints, "critical,CA:TRUE") ||
      !AddExtension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      X509_sign(ca, impl->key.get(), EVP_sha256()) == 0) {
    return absl::InternalError("cannot make the authority's certificate");
  }
  RETURN_IF_ERROR(WriteFile(folder + "/ca.crt", Pem(ca)));
  return std::unique_ptr<CertificateAuthority>(new CertificateAuthority(folder, std::move(impl)));
}

absl::Status CertificateAuthority::Issue(const std::string& name, const std::string& role,
                                         absl::string_view address) {
  const Key key(EVP_EC_gen("P-256"), &EVP_PKEY_free);
  if (key == nullptr) return absl::InternalError("cannot make a key");
  X509* const ca = impl_->certificate.get();
  const Certificate certificate = NewCertificate(name, role, impl_->next_serial++, key.get(), ca);
  X509* const leaf = certificate.get();
  if (!AddExtension(leaf, ca, NID_basic_constraints, "critical,CA:FALSE") ||
      !AddExtension(leaf, ca, NID_key_usage, "critical,digitalSignature") ||
      !AddExtension(leaf, ca, NID_ext_key_usage, "serverAuth,clientAuth") ||
      !AddExtension(leaf, ca, NID_subject_alt_name,
                    absl::StrCat("DNS:", name, ",DNS:localhost,IP:127.0.0.1",
                                 address.empty() ? "" : ",IP:", address)) ||
      X509_sign(leaf, impl_->key.get(), EVP_sha256()) == 0) {
    return absl::InternalError(absl::StrCat("cannot make a certificate for \"", name, "\""));
  }
  RETURN_IF_ERROR(WriteFile(certificate_file(name), Pem(leaf)));
  return WriteFile(key_file(name), Pem(key.get()), 0600);
}

std::string CertificateAuthority::certificate_file(absl::string_view name) const {
  return absl::StrCat(folder_, "/", name, ".crt");
}

std::string CertificateAuthority::key_file(absl::string_view name) const {
  return absl::StrCat(folder_, "/", name, ".key");
}

}  // namespace bdr::harness
