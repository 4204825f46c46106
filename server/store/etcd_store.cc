// Layout: "PREFIX/" + key holds the id of the write (16 random bytes) and the value. etcd's
// mod_revision is the revision.
//
// A write whose answer is lost may have been done, and may still be under way. It is sent again as
// it is: with a compare on a key that it writes it cannot be done twice, and if the compare does
// not hold any more the id tells whether that is our own doing.
#include "server/store/etcd_store.h"

#include <algorithm>
#include <cctype>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/config.h"
#include "base/mutex.h"
#include "base/random_id.h"
#include "base/status_macros.h"
#include "base/steady_clock.h"
#include "base/thread_name.h"
#include "server/store/etcd_client.h"
#include "server/store/watch_queue.h"

namespace bdr::server {
namespace {

constexpr size_t kIdLength = 16;
constexpr absl::Duration kPauseOfWatch = absl::Milliseconds(100);

// The first key that does not start with `prefix`, as etcd names ranges.
std::string EndOfPrefix(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  if (prefix.empty()) return std::string(1, '\0');  // to the end of all keys
  prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix;
}

class EtcdWatch : public StoreWatch {
 public:
  // `strip` is what our keys have before what Store calls a key; from `next` on, a revision.
  EtcdWatch(EtcdClient* client, std::string strip, std::string prefix, int64_t next)
      : client_(client), strip_(std::move(strip)), prefix_(std::move(prefix)), next_(next) {
    thread_ = std::thread([this] {
      NameThread("etcd-watch");
      Run();
    });
  }
  ~EtcdWatch() override {
    {
      MutexLock lock(&mu_);
      stop_ = true;
      if (context_ != nullptr) context_->TryCancel();
      wake_.NotifyAll();
    }
    thread_.join();
  }

  absl::StatusOr<std::optional<StoreEntry>> Next(absl::Duration timeout) override {
    return queue_.Next(timeout);
  }

 private:
  void Run() {
    while (Follow()) {
      MutexLock lock(&mu_);
      if (!stop_) wake_.WaitFor(&mu_, kPauseOfWatch);
    }
  }

  // One stream, from `next_` on. False if there is to be no other.
  bool Follow() {
    grpc::ClientContext context;
    {
      MutexLock lock(&mu_);
      if (stop_) return false;
      context_ = &context;
    }
    const bool again = Read(&context);
    MutexLock lock(&mu_);
    context_ = nullptr;
    return again && !stop_;
  }

  bool Read(grpc::ClientContext* context) {
    const absl::StatusOr<EtcdEndpoint*> endpoint = client_->Prepare(context);
    if (!endpoint.ok()) return true;
    const auto stream = (*endpoint)->watch->Watch(context);
    etcdserverpb::WatchRequest request;
    etcdserverpb::WatchCreateRequest* create = request.mutable_create_request();
    create->set_key(prefix_);
    create->set_range_end(EndOfPrefix(prefix_));
    create->set_start_revision(next_);
    bool lost = false;
    etcdserverpb::WatchResponse response;
    if (stream->Write(request)) {
      while (stream->Read(&response)) {
        lost = response.compact_revision() > 0;
        if (lost || response.canceled()) break;
        Take(response);
      }
    }
    context->TryCancel();
    (void)stream->Finish();  // however it ended, there is another, or the reader is told
    if (response.canceled() && !lost) client_->ForgetToken();
    if (!lost) client_->MoveOn(*endpoint);
    if (lost) {
      queue_.Lose(absl::UnavailableError(absl::StrCat(
          "etcd has forgotten the changes under \"", prefix_, "\" since revision ", next_,
          " (compacted up to ", response.compact_revision(), "): list them again")));
    }
    return !lost;
  }

  void Take(const etcdserverpb::WatchResponse& response) {
    int64_t newest = next_ - 1;
    for (const mvccpb::Event& event : response.events()) {
      const mvccpb::KeyValue& kv = event.kv();
      // Some versions give events twice, or older ones, after a reconnect.
      if (kv.mod_revision() < next_) continue;
      newest = std::max(newest, kv.mod_revision());
      const bool deleted = event.type() == mvccpb::Event::DELETE;
      if (!deleted && kv.value().size() < kIdLength) continue;  // not ours: reading it says so
      queue_.Offer({.key = kv.key().substr(strip_.size()),
                    .value = deleted ? "" : kv.value().substr(kIdLength),
                    .revision = static_cast<uint64_t>(kv.mod_revision()),
                    .deleted = deleted});
    }
    next_ = newest + 1;
  }

  EtcdClient* const client_;
  const std::string strip_;
  const std::string prefix_;
  WatchQueue queue_;
  int64_t next_;  // used by the thread alone

  Mutex mu_;
  CondVar wake_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mu_) = nullptr;  // of the stream there is

  std::thread thread_;  // last: uses all of the above
};

class EtcdStore : public Store {
 public:
  EtcdStore(std::string name, std::string prefix, std::unique_ptr<EtcdClient> client)
      : name_(std::move(name)),
        before_key_(absl::StrCat(prefix, "/")),
        client_(std::move(client)) {}

  std::string Name() const override { return name_; }
  bool exclusive() const override { return false; }

  absl::StatusOr<StoreEntry> Get(absl::string_view key) override {
    etcdserverpb::RangeRequest request;
    request.set_key(absl::StrCat(before_key_, key));
    ASSIGN_OR_RETURN(const etcdserverpb::RangeResponse response, Range(request));
    if (response.kvs().empty()) {
      return absl::NotFoundError(absl::StrCat("the store has no key \"", key, "\""));
    }
    return ToEntry(response.kvs(0));
  }

  absl::StatusOr<std::vector<StoreEntry>> List(absl::string_view prefix) override {
    etcdserverpb::RangeRequest request;
    request.set_key(absl::StrCat(before_key_, prefix));
    request.set_range_end(EndOfPrefix(request.key()));
    ASSIGN_OR_RETURN(const etcdserverpb::RangeResponse response, Range(request));
    std::vector<StoreEntry> entries;
    for (const mvccpb::KeyValue& kv : response.kvs()) {
      ASSIGN_OR_RETURN(StoreEntry entry, ToEntry(kv));
      entries.push_back(std::move(entry));
    }
    return entries;
  }

  absl::StatusOr<uint64_t> Commit(const StoreTransaction& transaction) override {
    const std::string id = absl::HexStringToBytes(RandomId());
    const etcdserverpb::TxnRequest request = ToRequest(transaction, id);
    const absl::Time until = client_->Deadline();
    bool maybe_done = false;
    while (true) {
      etcdserverpb::TxnResponse response;
      bool sent = false;
      const absl::Status status = client_->Try(
          [&](EtcdEndpoint& endpoint, grpc::ClientContext* context) {
            response.Clear();
            return endpoint.kv->Txn(context, request, &response);
          },
          until, &sent);
      maybe_done = maybe_done || sent;
      const bool answered = !absl::IsUnavailable(status);
      if (answered || SteadyNow() >= until) client_->NoteEnd(answered);
      if (status.ok() && response.succeeded()) {
        return static_cast<uint64_t>(response.header().revision());
      }
      if (status.ok()) return Refused(transaction, response, id, maybe_done);
      if (answered) return status;
      if (SteadyNow() >= until) return NoAnswer(status, maybe_done);
      // While etcd has no leader it says so at once.
      absl::SleepFor(absl::Milliseconds(20));
    }
  }

  absl::StatusOr<std::unique_ptr<StoreWatch>> Watch(absl::string_view prefix) override {
    const std::string key = absl::StrCat(before_key_, prefix);
    ASSIGN_OR_RETURN(const int64_t revision, Revision());
    return std::make_unique<EtcdWatch>(client_.get(), before_key_, key, revision + 1);
  }

  absl::StatusOr<uint64_t> GrantLease(absl::Duration ttl) override {
    // A lease of an attempt whose answer was lost ends by itself.
    etcdserverpb::LeaseGrantRequest request;
    request.set_ttl(absl::ToInt64Seconds(absl::Ceil(ttl, absl::Seconds(1))));
    etcdserverpb::LeaseGrantResponse response;
    RETURN_IF_ERROR(client_->Call([&](EtcdEndpoint& endpoint, grpc::ClientContext* context) {
      return endpoint.lease->LeaseGrant(context, request, &response);
    }));
    if (!response.error().empty()) return absl::UnavailableError(response.error());
    return static_cast<uint64_t>(response.id());
  }

  absl::Status RenewLease(uint64_t lease) override {
    etcdserverpb::LeaseKeepAliveRequest request;
    request.set_id(static_cast<int64_t>(lease));
    etcdserverpb::LeaseKeepAliveResponse response;
    RETURN_IF_ERROR(client_->Call([&](EtcdEndpoint& endpoint, grpc::ClientContext* context) {
      const auto stream = endpoint.lease->LeaseKeepAlive(context);
      const bool answered = stream->Write(request) && stream->Read(&response);
      if (answered) context->TryCancel();
      const grpc::Status status = stream->Finish();
      return answered ? grpc::Status::OK : status;
    }));
    if (response.ttl() > 0) return absl::OkStatus();
    return absl::NotFoundError(absl::StrCat("lease ", lease, " has ended; ask for another"));
  }

  absl::Status EndLease(uint64_t lease) override {
    etcdserverpb::LeaseRevokeRequest request;
    request.set_id(static_cast<int64_t>(lease));
    etcdserverpb::LeaseRevokeResponse response;
    const absl::Status status =
        client_->Call([&](EtcdEndpoint& endpoint, grpc::ClientContext* context) {
          return endpoint.lease->LeaseRevoke(context, request, &response);
        });
    return absl::IsNotFound(status) ? absl::OkStatus() : status;
  }

  absl::Status ForgetHistory() override {
    ASSIGN_OR_RETURN(const int64_t now, Revision());
    int64_t until = 0;
    {
      MutexLock lock(&mu_);
      until = std::exchange(seen_revision_, now);
    }
    if (until == 0) return absl::OkStatus();
    etcdserverpb::CompactionRequest request;
    request.set_revision(until);
    etcdserverpb::CompactionResponse response;
    const absl::Status status =
        client_->Call([&](EtcdEndpoint& endpoint, grpc::ClientContext* context) {
          return endpoint.kv->Compact(context, request, &response);
        });
    return absl::IsOutOfRange(status) ? absl::OkStatus() : status;  // somebody has compacted more
  }

  std::vector<StoreEndpoint> Endpoints() override {
    std::vector<StoreEndpoint> endpoints;
    for (EtcdEndpoint& endpoint : client_->endpoints()) {
      grpc::ClientContext context;
      context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(1)));
      etcdserverpb::StatusResponse response;
      const grpc::Status status = endpoint.maintenance->Status(&context, {}, &response);
      endpoints.push_back(
          {.address = endpoint.address,
           .version = response.version(),
           .leader = response.leader() != 0 && response.leader() == response.header().member_id(),
           .bytes = response.dbsize(),
           .status = ExplainEtcd(endpoint, status)});
    }
    return endpoints;
  }

 private:
  absl::StatusOr<etcdserverpb::RangeResponse> Range(const etcdserverpb::RangeRequest& request) {
    etcdserverpb::RangeResponse response;
    RETURN_IF_ERROR(client_->Call([&](EtcdEndpoint& endpoint, grpc::ClientContext* context) {
      response.Clear();
      return endpoint.kv->Range(context, request, &response);
    }));
    return response;
  }

  // Of etcd as a whole.
  absl::StatusOr<int64_t> Revision() {
    etcdserverpb::RangeRequest request;
    request.set_key(before_key_);
    ASSIGN_OR_RETURN(const etcdserverpb::RangeResponse response, Range(request));
    return response.header().revision();
  }

  absl::StatusOr<StoreEntry> ToEntry(const mvccpb::KeyValue& kv) const {
    if (kv.value().size() < kIdLength) {
      return absl::InternalError(absl::StrCat("etcd's key \"", kv.key(),
                                              "\" holds what no bdr-server has written: give bdr "
                                              "a prefix of its own, or restore a backup"));
    }
    return StoreEntry{.key = kv.key().substr(before_key_.size()),
                      .value = kv.value().substr(kIdLength),
                      .revision = static_cast<uint64_t>(kv.mod_revision())};
  }

  etcdserverpb::TxnRequest ToRequest(const StoreTransaction& transaction,
                                     const std::string& id) const {
    etcdserverpb::TxnRequest request;
    for (const StoreCompare& compare : transaction.compares) {
      etcdserverpb::Compare* added = request.add_compare();
      added->set_target(etcdserverpb::Compare::MOD);
      added->set_key(absl::StrCat(before_key_, compare.key));
      added->set_mod_revision(static_cast<int64_t>(compare.revision));
    }
    for (const StoreWrite& write : transaction.writes) {
      const std::string key = absl::StrCat(before_key_, write.key);
      if (!write.value.has_value()) {
        request.add_success()->mutable_request_delete_range()->set_key(key);
        continue;
      }
      etcdserverpb::PutRequest* put = request.add_success()->mutable_request_put();
      put->set_key(key);
      put->set_value(absl::StrCat(id, *write.value));
      put->set_lease(static_cast<int64_t>(write.lease));
      request.add_failure()->mutable_request_range()->set_key(key);
    }
    return request;
  }

  // A compare did not hold: somebody else's doing, or our own, of an attempt before this one.
  absl::StatusOr<uint64_t> Refused(const StoreTransaction& transaction,
                                   const etcdserverpb::TxnResponse& response, const std::string& id,
                                   bool maybe_done) const {
    for (const etcdserverpb::ResponseOp& read : response.responses()) {
      for (const mvccpb::KeyValue& kv : read.response_range().kvs()) {
        if (absl::StartsWith(kv.value(), id)) return static_cast<uint64_t>(kv.mod_revision());
      }
    }
    const std::string keys = absl::StrJoin(
        transaction.compares, ", ", [](std::string* out, const StoreCompare& compare) {
          absl::StrAppend(out, "\"", compare.key, "\" (", compare.revision, ")");
        });
    if (maybe_done) {
      return absl::DeadlineExceededError(
          absl::StrCat("etcd's answer to a write was lost, and since then someone has written to "
                       "one of the keys ",
                       keys, ": it may have been done before; read them and decide again"));
    }
    return absl::AbortedError(
        absl::StrCat("one of the keys ", keys,
                     " has another revision: someone changed it meanwhile; read it again"));
  }

  static absl::Status NoAnswer(const absl::Status& last, bool maybe_done) {
    if (!maybe_done) return last;
    return absl::DeadlineExceededError(
        absl::StrCat("a write may have been done or not: ", last.message()));
  }

  const std::string name_;
  const std::string before_key_;
  const std::unique_ptr<EtcdClient> client_;

  Mutex mu_;
  int64_t seen_revision_ ABSL_GUARDED_BY(mu_) = 0;  // when history was last to be forgotten
};

bool IsPrefix(absl::string_view prefix) {
  return !prefix.empty() && prefix.front() != '/' && prefix.back() != '/' &&
         std::all_of(prefix.begin(), prefix.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                  absl::StrContains("._-/", absl::string_view(&c, 1));
         });
}

}  // namespace

absl::StatusOr<EtcdOptions> ParseEtcdUrl(absl::string_view url) {
  constexpr absl::string_view kForm = "expected \"etcd://HOST:PORT,HOST:PORT.../PREFIX\"";
  if (!absl::ConsumePrefix(&url, "etcd://")) return absl::InvalidArgumentError(kForm);
  if (absl::StrContains(url, '@')) {
    // The value is left out: it most likely holds a password.
    return absl::InvalidArgumentError(absl::StrCat(
        kForm, "; user and password belong to \"etcd.user\" and \"etcd.password_file\""));
  }
  EtcdOptions options;
  const size_t slash = url.find('/');
  if (slash != absl::string_view::npos) {
    options.prefix = std::string(url.substr(slash + 1));
    if (!IsPrefix(options.prefix)) {
      return absl::InvalidArgumentError(
          absl::StrCat(kForm, ", with a prefix of letters, digits, '.', '_', '-' and '/'"));
    }
  }
  for (const absl::string_view address : absl::StrSplit(url.substr(0, slash), ',')) {
    if (!config::ParseHostPort(address).ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(kForm, ", found the address \"", address, "\""));
    }
    options.endpoints.emplace_back(address);
  }
  return options;
}

absl::StatusOr<std::unique_ptr<Store>> OpenEtcdStore(EtcdOptions options) {
  std::string name =
      absl::StrCat("etcd://", absl::StrJoin(options.endpoints, ","), "/", options.prefix);
  std::string prefix = options.prefix;
  ASSIGN_OR_RETURN(std::unique_ptr<EtcdClient> client, EtcdClient::Open(std::move(options)));
  return std::make_unique<EtcdStore>(std::move(name), std::move(prefix), std::move(client));
}

}  // namespace bdr::server
