// Speaks etcd's v3 API to whichever member of an etcd cluster answers.
//
// One channel to each endpoint. A call goes to the one that answered last; when that one does not
// answer, or has no leader, the next call goes to the next. Every call asks for a leader, so a
// member that is cut off refuses instead of waiting.
//
// Included by .cc files only: it brings gRPC along.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "etcd/rpc.grpc.pb.h"
#include "server/store/etcd_store.h"

namespace bdr::server {

struct EtcdEndpoint {
  std::string address;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<etcdserverpb::KV::Stub> kv;
  std::unique_ptr<etcdserverpb::Watch::Stub> watch;
  std::unique_ptr<etcdserverpb::Lease::Stub> lease;
  std::unique_ptr<etcdserverpb::Auth::Stub> auth;
  std::unique_ptr<etcdserverpb::Maintenance::Stub> maintenance;
};

// Thread-safe.
class EtcdClient {
 public:
  // kInvalidArgument or kFailedPrecondition for options that cannot work, with what is wrong and
  // the file; does not connect yet.
  static absl::StatusOr<std::unique_ptr<EtcdClient>> Open(EtcdOptions options);

  using Request = std::function<grpc::Status(EtcdEndpoint&, grpc::ClientContext*)>;

  // One attempt, at one endpoint, until `until` (SteadyNow()) at the longest. kUnavailable if there
  // is no answer, and then `*sent` says whether the request may have reached etcd nevertheless;
  // kFailedPrecondition if etcd refuses us. What else etcd answers keeps its code.
  absl::Status Try(const Request& request, absl::Time until, bool* sent);

  // For what may be repeated: attempts until there is an answer, or the options' timeout is over.
  absl::Status Call(const Request& request);

  // For streams, which outlive a call: an endpoint that is connected, with credentials in
  // `context`. Each call takes the next endpoint after a failure. kUnavailable if it is not
  // connected within a few seconds.
  absl::StatusOr<EtcdEndpoint*> Prepare(grpc::ClientContext* context);
  // That a stream to the present endpoint has ended.
  void MoveOn(const EtcdEndpoint* from);
  // The credentials were refused: the next call gets new ones.
  void ForgetToken();

  // Until when a whole operation that begins now may take (SteadyNow()). While etcd does not answer
  // one operation a second takes its time, and the others give up soon: whoever asks bdr-server is
  // to be told, not to queue up behind those who wait.
  absl::Time Deadline();
  // How it ended.
  void NoteEnd(bool answered);
  std::vector<EtcdEndpoint>& endpoints() { return endpoints_; }

 private:
  EtcdClient(EtcdOptions options, std::vector<EtcdEndpoint> endpoints, std::string password)
      : options_(std::move(options)),
        endpoints_(std::move(endpoints)),
        password_(std::move(password)) {}

  absl::Status Connected(EtcdEndpoint& endpoint, absl::Time until) const;
  // The token for calls; empty without a user.
  absl::StatusOr<std::string> Token(EtcdEndpoint& endpoint, absl::Time until);

  const EtcdOptions options_;
  std::vector<EtcdEndpoint> endpoints_;
  const std::string password_;
  std::atomic<size_t> present_ = 0;  // counts up; modulo the number of endpoints, the one to ask

  Mutex mu_;
  std::string token_ ABSL_GUARDED_BY(mu_);
  bool silent_ ABSL_GUARDED_BY(mu_) = false;  // the last operation got no answer
  absl::Time next_patient_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();  // SteadyNow()
};

// What etcd's error means to us, with who said it.
absl::Status ExplainEtcd(const EtcdEndpoint& endpoint, const grpc::Status& status);

}  // namespace bdr::server
