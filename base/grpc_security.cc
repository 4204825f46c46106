#include "base/grpc_security.h"

#include <fcntl.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/access.h"
#include "base/config.h"
#include "base/status_macros.h"

namespace bdr {
namespace {

template <typename T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* object) const { Free(object); }
};
template <typename T, void (*Free)(T*)>
using Owned = std::unique_ptr<T, Deleter<T, Free>>;

void FreeBio(BIO* bio) { BIO_free(bio); }
void FreeStack(STACK_OF(X509) * stack) { sk_X509_pop_free(stack, X509_free); }
using OwnedX509 = Owned<X509, X509_free>;
using OwnedKey = Owned<EVP_PKEY, EVP_PKEY_free>;
using OwnedBio = Owned<BIO, FreeBio>;
using OwnedStack = Owned<STACK_OF(X509), FreeStack>;

struct Files {
  std::string certificate;
  std::string key;
  std::string ca;
};

absl::Status Wrong(const char* what, const std::string& path, absl::string_view problem) {
  ERR_clear_error();  // OpenSSL's queue belongs to the thread, and gRPC reads it as well
  return absl::FailedPreconditionError(absl::StrCat(what, " \"", path, "\" ", problem));
}

absl::StatusOr<std::string> ReadFile(const char* what, const std::string& path, bool secret) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Wrong(what, path, absl::StrCat("cannot be read: ", std::strerror(errno)));
  struct stat info;
  std::string text;
  ssize_t n = fstat(fd, &info);
  // The open file is asked, not its name: what is checked is what is read.
  const bool exposed = n == 0 && secret && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0;
  char buffer[4096];
  while (n == 0 && !exposed) {
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got == 0) break;
    if (got < 0) {
      n = -1;
    } else {
      text.append(buffer, static_cast<size_t>(got));
    }
  }
  const int error = errno;
  close(fd);
  if (n != 0) return Wrong(what, path, absl::StrCat("cannot be read: ", std::strerror(error)));
  if (exposed) {
    return Wrong(what, path,
                 absl::StrCat("is open to others than its owner; run \"chmod 600 ", path, "\""));
  }
  return text;
}

int NoPassword(char*, int, int, void*) { return -1; }

std::vector<OwnedX509> ParseCertificates(const std::string& pem) {
  const OwnedBio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  std::vector<OwnedX509> certificates;
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, &NoPassword, nullptr)) {
    certificates.emplace_back(certificate);
  }
  ERR_clear_error();  // the end of the file is an error to it
  return certificates;
}

// What a certificate is for. Agents connect to each other in both directions.
enum class Use { kClient, kBoth };

// Our certificate as a peer will look at it: signed by the CA, valid now, for its use.
absl::Status CheckChain(const SecurityOptions& security, Use use, const std::vector<OwnedX509>& own,
                        const std::vector<OwnedX509>& trusted) {
  const Owned<X509_STORE, X509_STORE_free> store(X509_STORE_new());
  for (const OwnedX509& ca : trusted) X509_STORE_add_cert(store.get(), ca.get());
  X509_STORE_set_flags(store.get(), X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST);
  const OwnedStack between(sk_X509_new_null());
  for (size_t i = 1; i < own.size(); ++i) {
    X509_up_ref(own[i].get());
    sk_X509_push(between.get(), own[i].get());
  }
  for (const int purpose : {X509_PURPOSE_SSL_SERVER, X509_PURPOSE_SSL_CLIENT}) {
    if (use == Use::kClient && purpose == X509_PURPOSE_SSL_SERVER) continue;
    const Owned<X509_STORE_CTX, X509_STORE_CTX_free> context(X509_STORE_CTX_new());
    X509_STORE_CTX_init(context.get(), store.get(), own[0].get(), between.get());
    X509_STORE_CTX_set_purpose(context.get(), purpose);
    if (X509_verify_cert(context.get()) == 1) continue;
    const char* reason = X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()));
    return Wrong("certificate", security.certificate,
                 absl::StrCat("would be refused by peers as that of a ",
                              purpose == X509_PURPOSE_SSL_SERVER ? "server" : "client", ": ",
                              reason, "; it must be valid and signed by \"", security.ca, "\""));
  }
  return absl::OkStatus();
}

absl::StatusOr<Files> Load(const SecurityOptions& security, Use use) {
  if (security.certificate.empty() || security.key.empty() || security.ca.empty()) {
    return absl::InvalidArgumentError(
        "a certificate, its key and the CA are needed to connect; on one machine alone, "
        "\"insecure\" does without");
  }
  Files files;
  ASSIGN_OR_RETURN(files.certificate, ReadFile("certificate", security.certificate, false));
  ASSIGN_OR_RETURN(files.key, ReadFile("private key", security.key, true));
  ASSIGN_OR_RETURN(files.ca, ReadFile("CA", security.ca, false));

  const std::vector<OwnedX509> own = ParseCertificates(files.certificate);
  if (own.empty()) return Wrong("certificate", security.certificate, "holds no PEM certificate");
  const std::vector<OwnedX509> trusted = ParseCertificates(files.ca);
  if (trusted.empty()) return Wrong("CA", security.ca, "holds no PEM certificate");
  const OwnedBio bio(BIO_new_mem_buf(files.key.data(), static_cast<int>(files.key.size())));
  const OwnedKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, &NoPassword, nullptr));
  if (key == nullptr) {
    return Wrong("private key", security.key, "holds no PEM key without a passphrase");
  }
  if (X509_check_private_key(own[0].get(), key.get()) != 1) {
    return Wrong("private key", security.key,
                 absl::StrCat("does not belong to certificate \"", security.certificate, "\""));
  }
  RETURN_IF_ERROR(CheckChain(security, use, own, trusted));
  return files;
}

absl::Status CheckInsecure(const SecurityOptions& security, const std::string& address) {
  if (!security.certificate.empty() || !security.key.empty() || !security.ca.empty()) {
    return absl::InvalidArgumentError(
        "\"insecure\" and certificate files exclude each other; leave out one of them");
  }
  ASSIGN_OR_RETURN(const config::HostPort parsed, config::ParseHostPort(address));
  if (config::IsLoopback(parsed.host)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("plaintext to \"", address,
                   "\" refused: it is not a loopback address; use certificates instead of "
                   "\"insecure\""));
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const SecurityOptions& security, const std::string& address) {
  if (security.insecure) {
    RETURN_IF_ERROR(CheckInsecure(security, address));
    return grpc::InsecureServerCredentials();
  }
  ASSIGN_OR_RETURN(Files files, Load(security, Use::kBoth));
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = std::move(files.ca);
  options.pem_key_cert_pairs.push_back({std::move(files.key), std::move(files.certificate)});
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::SslServerCredentials(options);
  credentials->SetAuthMetadataProcessor(MakeAccessCheck());
  return credentials;
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(
    const SecurityOptions& security, const std::string& address) {
  if (security.insecure) {
    RETURN_IF_ERROR(CheckInsecure(security, address));
    return grpc::InsecureChannelCredentials();
  }
  ASSIGN_OR_RETURN(Files files, Load(security, Use::kClient));
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = std::move(files.ca);
  options.pem_private_key = std::move(files.key);
  options.pem_cert_chain = std::move(files.certificate);
  return grpc::SslCredentials(options);
}

absl::StatusOr<std::vector<std::pair<std::string, absl::Time>>> CertificateExpiries(
    const SecurityOptions& security) {
  std::vector<std::pair<std::string, absl::Time>> expiries;
  if (security.insecure) return expiries;
  ASSIGN_OR_RETURN(const Files files, Load(security, Use::kClient));
  for (const auto& [path, pem] :
       {std::pair(&security.certificate, &files.certificate), std::pair(&security.ca, &files.ca)}) {
    absl::Time first = absl::InfiniteFuture();
    for (const OwnedX509& certificate : ParseCertificates(*pem)) {
      tm expires{};
      if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &expires) != 1) {
        return Wrong("certificate", *path, "does not say when it expires");
      }
      first = std::min(first, absl::FromTM(expires, absl::UTCTimeZone()));
    }
    expiries.emplace_back(*path, first);
  }
  return expiries;
}

absl::Status CheckSecurityFiles(const SecurityOptions& security) {
  return security.insecure ? absl::OkStatus() : Load(security, Use::kBoth).status();
}

absl::Status CheckOwnIdentity(const SecurityOptions& security, Role role, absl::string_view name) {
  if (security.insecure) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Files files, Load(security, Use::kBoth));
  const absl::StatusOr<PeerIdentity> own = IdentityOfPem(files.certificate);
  if (!own.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "certificate \"", security.certificate, "\" cannot be used: ", own.status().message()));
  }
  if (own->role == role && (name.empty() || own->name == name)) return absl::OkStatus();
  return Wrong("certificate", security.certificate,
               absl::StrCat("is that of ", ToString(*own), ", and this is ",
                            ToString(PeerIdentity{.role = role, .name = std::string(name)}),
                            ": others would refuse it; issue one with \"bdrctl cert issue\""));
}

}  // namespace bdr
