// The store of several bdr-servers: an etcd cluster, by its v3 API (3.4 or later).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/store/store.h"

namespace bdr::server {

// How we and etcd know each other. Without `ca` the connection is plaintext, which is for loopback
// addresses only. Certificate and key go together, and so do user and password.
struct EtcdSecurity {
  std::string ca = "";           // PEM file: who signs etcd's certificates
  std::string certificate = "";  // PEM file: ours
  std::string key = "";          // PEM file
  std::string user = "";
  std::string password_file = "";  // its first line is the password

  friend bool operator==(const EtcdSecurity&, const EtcdSecurity&) = default;
};

struct EtcdOptions {
  std::vector<std::string> endpoints = {};  // host:port
  std::string prefix = "bdr";               // of all keys, before a '/'
  EtcdSecurity security = {};
  // Of one attempt, and of a whole operation, in which all endpoints may be tried. Shorter than
  // agents and bdrctl wait for bdr-server.
  absl::Duration try_timeout = absl::Seconds(1);
  absl::Duration timeout = absl::Milliseconds(2500);
};

// "etcd://HOST:PORT[,HOST:PORT...][/PREFIX]". kInvalidArgument with what is wrong.
absl::StatusOr<EtcdOptions> ParseEtcdUrl(absl::string_view url);

// kInvalidArgument or kFailedPrecondition for options that cannot work; does not connect yet. The
// store must outlive its watches.
absl::StatusOr<std::unique_ptr<Store>> OpenEtcdStore(EtcdOptions options);

}  // namespace bdr::server
