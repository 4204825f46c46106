// What the embedded store and etcd must do alike, and what only etcd has to stand: no write wins
// over one that it did not see, whatever happens to its members and to the answers on their way.
#include "server/store/store.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/steady_clock.h"
#include "base/testing.h"
#include "etcd/rpc.grpc.pb.h"
#include "server/store/etcd_store.h"
#include "server/store/open_store.h"
#include "server/store/rocksdb_store.h"
#include "tests/harness/cluster.h"
#include "tests/harness/etcd.h"
#include "tests/harness/ports.h"
#include "tests/harness/tcp_proxy.h"
#include "tests/harness/temp_folder.h"

namespace bdr::server {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kDeadline = absl::Seconds(60);

// Not found, or a number.
absl::StatusOr<int> NumberAt(Store& store, const std::string& key) {
  ASSIGN_OR_RETURN(const StoreEntry entry, store.Get(key));
  int n = 0;
  if (!absl::SimpleAtoi(entry.value, &n)) return absl::InternalError(entry.value);
  return n;
}

enum class Kind { kEmbedded, kEtcd };

class StoreTest : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    auto folder = harness::TempFolder::Create();
    ASSERT_OK(folder);
    folder_ = std::move(*folder);
    if (GetParam() == Kind::kEmbedded) {
      auto store = OpenRocksDbStore(folder_->path() + "/store");
      ASSERT_OK(store);
      store_ = std::move(*store);
      return;
    }
    auto etcd = harness::EtcdCluster::Start();
    ASSERT_OK(etcd);
    etcd_ = std::move(*etcd);
    auto store = OpenStore({.store = etcd_->Url()});
    ASSERT_OK(store);
    store_ = std::move(*store);
  }

  std::unique_ptr<harness::TempFolder> folder_;
  std::unique_ptr<harness::EtcdCluster> etcd_;
  std::unique_ptr<Store> store_;
};

INSTANTIATE_TEST_SUITE_P(Both, StoreTest, ::testing::Values(Kind::kEmbedded, Kind::kEtcd),
                         [](const auto& kind) {
                           return kind.param == Kind::kEmbedded ? "Embedded" : "Etcd";
                         });

TEST_P(StoreTest, PutFailsUnlessTheRevisionIsTheOneThatWasRead) {
  ASSERT_OK_AND_ASSIGN(const uint64_t revision, store_->Put("a", "1", 0));
  EXPECT_EQ(store_->Put("a", "x", 0).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(store_->Put("a", "x", revision + 1).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(store_->Put("new", "x", revision).status().code(), absl::StatusCode::kAborted);
  EXPECT_OK(store_->Put("a", "2", revision));
  EXPECT_EQ(store_->Get("a")->value, "2");
}

TEST_P(StoreTest, MissingKeysAreNotFound) {
  EXPECT_EQ(store_->Get("none").status().code(), absl::StatusCode::kNotFound);
  // The store's own bookkeeping is no key.
  EXPECT_EQ(store_->Get("revision").status().code(), absl::StatusCode::kNotFound);
}

TEST_P(StoreTest, ListsOnlyThePrefixInOrder) {
  for (const char* key : {"m/2", "m/1", "n/1", "m"}) ASSERT_OK(store_->Put(key, key, 0));
  ASSERT_OK_AND_ASSIGN(const auto entries, store_->List("m/"));
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].key, "m/1");
  EXPECT_EQ(entries[1].key, "m/2");
}

TEST_P(StoreTest, ConcurrentIncrementsLoseNone) {
  constexpr int kThreads = 4, kEach = 25;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this] {
      for (int done = 0; done < kEach;) {
        const auto entry = store_->Get("n");
        int n = 0;
        ASSERT_TRUE(!entry.ok() || absl::SimpleAtoi(entry->value, &n));
        if (store_->Put("n", absl::StrCat(n + 1), entry.ok() ? entry->revision : 0).ok()) ++done;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store_->Get("n")->value, absl::StrCat(kThreads * kEach));
}

TEST_P(StoreTest, WatchGivesChangesUnderItsPrefixInOrder) {
  ASSERT_OK(store_->Put("m/0", "before", 0));
  ASSERT_OK_AND_ASSIGN(const auto watch, store_->Watch("m/"));
  ASSERT_OK_AND_ASSIGN(const uint64_t revision, store_->Put("m/2", "x", 0));
  ASSERT_OK(store_->Put("n/1", "other", 0));
  ASSERT_OK(store_->Put("m/1", "y", 0));
  ASSERT_OK(store_->Put("m/2", "z", revision));
  // "x" may be left out, since it was replaced.
  std::vector<std::string> seen;
  while (seen.empty() || seen.back() != "m/2=z") {
    ASSERT_OK_AND_ASSIGN(const auto change, watch->Next(kDeadline));
    ASSERT_TRUE(change.has_value());
    seen.push_back(absl::StrCat(change->key, "=", change->value));
  }
  if (seen[0] == "m/2=x") seen.erase(seen.begin());
  EXPECT_THAT(seen, ::testing::ElementsAre("m/1=y", "m/2=z"));
}

TEST_P(StoreTest, WatchWakesOnAChange) {
  ASSERT_OK_AND_ASSIGN(const auto watch, store_->Watch(""));
  std::thread writer([this] { EXPECT_OK(store_->Put("a", "1", 0)); });
  ASSERT_OK_AND_ASSIGN(const auto change, watch->Next(absl::Seconds(30)));
  writer.join();
  ASSERT_TRUE(change.has_value());
  EXPECT_EQ(change->value, "1");
}

TEST_P(StoreTest, ATransactionWritesAllOrNothing) {
  ASSERT_OK_AND_ASSIGN(const uint64_t a, store_->Put("a", "1", 0));
  const StoreTransaction transaction = {
      .compares = {{"a", a}, {"b", 0}},
      .writes = {{.key = "a", .value = "2"}, {.key = "b", .value = "1"}, {.key = "c"}}};
  ASSERT_OK_AND_ASSIGN(const uint64_t c, store_->Put("c", "1", 0));
  EXPECT_GT(c, a);
  ASSERT_OK_AND_ASSIGN(const uint64_t both, store_->Commit(transaction));
  EXPECT_GT(both, c);
  EXPECT_EQ(store_->Get("a")->revision, both);
  EXPECT_EQ(store_->Get("b")->revision, both);
  EXPECT_EQ(store_->Get("c").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Commit(transaction).status().code(), absl::StatusCode::kAborted);
  // One compare that does not hold is enough.
  EXPECT_EQ(store_
                ->Commit({.compares = {{"a", both}, {"b", a}},
                          .writes = {{.key = "a", .value = "x"}, {.key = "d", .value = "x"}}})
                .status()
                .code(),
            absl::StatusCode::kAborted);
  EXPECT_EQ(store_->Get("a")->value, "2");
  EXPECT_EQ(store_->Get("d").status().code(), absl::StatusCode::kNotFound);
}

TEST_P(StoreTest, AKeyThatWasRemovedNeverHasItsOldRevisionAgain) {
  ASSERT_OK_AND_ASSIGN(const uint64_t first, store_->Put("a", "1", 0));
  ASSERT_OK_AND_ASSIGN(const auto watch, store_->Watch("a"));
  ASSERT_OK(store_->Commit({.compares = {{"a", first}}, .writes = {{.key = "a"}}}));
  ASSERT_OK_AND_ASSIGN(const auto change, watch->Next(kDeadline));
  ASSERT_TRUE(change.has_value());
  EXPECT_TRUE(change->deleted);
  EXPECT_EQ(change->key, "a");
  EXPECT_EQ(store_->List("")->size(), 0u);
  EXPECT_EQ(store_->Put("a", "x", first).status().code(), absl::StatusCode::kAborted);
  ASSERT_OK_AND_ASSIGN(const uint64_t second, store_->Put("a", "1", 0));
  EXPECT_GT(second, first);
}

TEST_P(StoreTest, KeysGoWithTheirLease) {
  ASSERT_OK_AND_ASSIGN(const auto watch, store_->Watch("m/"));
  ASSERT_OK_AND_ASSIGN(const uint64_t lease, store_->GrantLease(absl::Seconds(2)));
  ASSERT_OK(store_->Commit({.writes = {{.key = "m/1", .value = "x", .lease = lease},
                                       {.key = "m/2", .value = "y", .lease = lease},
                                       {.key = "m/3", .value = "z"}}}));
  // The last write decides.
  ASSERT_OK(store_->Commit({.writes = {{.key = "m/2", .value = "stays"}}}));
  ASSERT_OK(harness::WaitFor("m/1 is removed", kDeadline, [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const auto change, watch->Next(kDeadline));
    return change.has_value() && change->deleted && change->key == "m/1";
  }));
  ASSERT_OK_AND_ASSIGN(const auto left, store_->List("m/"));
  ASSERT_EQ(left.size(), 2u);
  EXPECT_EQ(left[0].value, "stays");
  EXPECT_EQ(store_->RenewLease(lease).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(
      store_->Commit({.writes = {{.key = "m/1", .value = "x", .lease = lease}}}).status().code(),
      absl::StatusCode::kNotFound);
  EXPECT_OK(store_->EndLease(lease));
}

TEST_P(StoreTest, ALeaseLastsWhileItIsRenewed) {
  constexpr absl::Duration kTtl = absl::Seconds(2);
  ASSERT_OK_AND_ASSIGN(const uint64_t lease, store_->GrantLease(kTtl));
  ASSERT_OK(store_->Commit({.writes = {{.key = "a", .value = "x", .lease = lease}}}));
  const absl::Time until = SteadyNow() + 3 * kTtl;
  ASSERT_OK(
      harness::WaitFor("three times its time has passed", kDeadline, [&]() -> absl::StatusOr<bool> {
        EXPECT_OK(store_->RenewLease(lease));
        EXPECT_OK(store_->Get("a"));
        return SteadyNow() >= until;
      }));
  ASSERT_OK(store_->EndLease(lease));
  EXPECT_EQ(store_->Get("a").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->RenewLease(lease).code(), absl::StatusCode::kNotFound);
}

TEST_P(StoreTest, WhoHasLostItsLeaseCannotWriteAnyMore) {
  ASSERT_OK_AND_ASSIGN(const uint64_t lease, store_->GrantLease(absl::Seconds(10)));
  ASSERT_OK_AND_ASSIGN(
      const uint64_t token,
      store_->Commit({.compares = {{"leader", 0}},
                      .writes = {{.key = "leader", .value = "one", .lease = lease}}}));
  ASSERT_OK(store_->Commit(
      {.compares = {{"leader", token}, {"a", 0}}, .writes = {{.key = "a", .value = "1"}}}));
  ASSERT_OK(store_->EndLease(lease));
  ASSERT_OK_AND_ASSIGN(const uint64_t next, store_->Put("leader", "one", 0));
  EXPECT_GT(next, token);
  EXPECT_EQ(
      store_->Commit({.compares = {{"leader", token}}, .writes = {{.key = "b", .value = "1"}}})
          .status()
          .code(),
      absl::StatusCode::kAborted);
}

TEST_P(StoreTest, ForgettingHistoryKeepsWhatIsThere) {
  ASSERT_OK_AND_ASSIGN(uint64_t revision, store_->Put("a", "0", 0));
  for (int i = 1; i <= 20; ++i) {
    ASSERT_OK_AND_ASSIGN(revision, store_->Put("a", absl::StrCat(i), revision));
    ASSERT_OK(store_->ForgetHistory());
  }
  EXPECT_EQ(store_->Get("a")->value, "20");
  EXPECT_EQ(store_->Get("a")->revision, revision);
}

// etcd alone.
class EtcdStoreTest : public ::testing::Test {
 protected:
  void StartEtcd(harness::EtcdClusterOptions options = {}) {
    auto etcd = harness::EtcdCluster::Start(options);
    ASSERT_OK(etcd);
    etcd_ = std::move(*etcd);
  }
  std::unique_ptr<Store> Open(EtcdOptions options) {
    if (options.endpoints.empty()) options.endpoints = etcd_->endpoints();
    auto store = OpenEtcdStore(std::move(options));
    EXPECT_OK(store);
    return store.ok() ? std::move(*store) : nullptr;
  }
  std::unique_ptr<harness::TcpProxy> StartProxy(int member) {
    int port = 0;
    EXPECT_TRUE(
        absl::SimpleAtoi(etcd_->endpoints()[static_cast<size_t>(member)].substr(10), &port));
    auto listen = harness::FreePort();
    EXPECT_OK(listen);
    auto proxy = harness::TcpProxy::Start({.listen_port = *listen, .server_port = port});
    EXPECT_OK(proxy);
    proxy_addresses_.push_back(absl::StrCat("127.0.0.1:", *listen));
    return std::move(*proxy);
  }

  std::unique_ptr<harness::EtcdCluster> etcd_;
  std::vector<std::string> proxy_addresses_;
};

// Counts up while `fault` happens. What was acknowledged must be there, and no more than what may
// have been done besides.
void CountThrough(Store& store, const std::string& key, const std::function<void()>& fault) {
  int acknowledged = 0;
  int unknown = 0;
  const auto count_once = [&]() -> bool {
    const auto entry = store.Get(key);
    int n = 0;
    if (!entry.ok() && !absl::IsNotFound(entry.status())) return false;
    if (entry.ok() && !absl::SimpleAtoi(entry->value, &n)) return false;
    const auto written = store.Put(key, absl::StrCat(n + 1), entry.ok() ? entry->revision : 0);
    if (written.ok()) ++acknowledged;
    if (absl::IsDeadlineExceeded(written.status())) ++unknown;
    EXPECT_FALSE(absl::IsAborted(written.status())) << "nobody else writes: " << written.status();
    return written.ok();
  };
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(count_once());
  fault();
  const int before = acknowledged;
  ASSERT_OK(harness::WaitFor("writes go on", kDeadline, [&]() -> absl::StatusOr<bool> {
    (void)count_once();
    return acknowledged >= before + 20;
  }));
  ASSERT_OK_AND_ASSIGN(const int stored, NumberAt(store, key));
  EXPECT_GE(stored, acknowledged);
  EXPECT_LE(stored, acknowledged + unknown);
}

TEST_F(EtcdStoreTest, GoesOnWhenTheLeaderIsKilled) {
  ASSERT_NO_FATAL_FAILURE(StartEtcd());
  const auto store = Open({});
  CountThrough(*store, "n", [this] {
    ASSERT_OK_AND_ASSIGN(const int leader, etcd_->Leader());
    etcd_->member(leader).Kill9();
  });
}

TEST_F(EtcdStoreTest, GoesOnWhenAnyMemberStandsStill) {
  ASSERT_NO_FATAL_FAILURE(StartEtcd());
  const auto store = Open({});
  for (int i = 0; i < etcd_->size(); ++i) {
    CountThrough(*store, absl::StrCat("n", i), [&] { ASSERT_OK(etcd_->member(i).Pause()); });
    ASSERT_OK(etcd_->member(i).Resume());
    ASSERT_OK(etcd_->WaitUntilReady(kDeadline));
  }
}

TEST_F(EtcdStoreTest, WithoutAMajorityItSaysSoAndGoesOnOnceThereIsOne) {
  ASSERT_NO_FATAL_FAILURE(StartEtcd());
  const auto store = Open({});
  ASSERT_OK(store->Put("a", "1", 0));
  etcd_->member(0).Kill9();
  ASSERT_OK(harness::WaitFor("two of three write", kDeadline, [&]() -> absl::StatusOr<bool> {
    const auto entry = store->Get("a");
    return entry.ok() && store->Put("a", "2", entry->revision).ok();
  }));
  etcd_->member(1).Kill9();
  const absl::Time begin = SteadyNow();
  EXPECT_EQ(store->Get("a").status().code(), absl::StatusCode::kUnavailable);
  const absl::Status refused = store->Put("b", "1", 0).status();
  EXPECT_TRUE(absl::IsUnavailable(refused) || absl::IsDeadlineExceeded(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("etcd at \"127.0.0.1:"));
  EXPECT_LT(SteadyNow() - begin, absl::Seconds(20));
  ASSERT_OK(etcd_->StartMember(0));
  ASSERT_OK(harness::WaitFor("it goes on", kDeadline, [&]() -> absl::StatusOr<bool> {
    const auto entry = store->Get("a");
    return entry.ok() && entry->value == "2" && store->Put("a", "3", entry->revision).ok();
  }));
}

TEST_F(EtcdStoreTest, AWriteWhoseAnswerIsLostIsFoundAndNotDoneTwice) {
  ASSERT_NO_FATAL_FAILURE(StartEtcd());
  const auto deaf = StartProxy(0);
  const auto direct = Open({});
  const auto store =
      Open({.endpoints = {proxy_addresses_[0], etcd_->endpoints()[1]}, .timeout = kDeadline});
  ASSERT_OK_AND_ASSIGN(const uint64_t first, store->Put("a", "1", 0));
  ASSERT_OK_AND_ASSIGN(const auto watch, direct->Watch("a"));
  // It gets the request and its answer vanishes; the second attempt goes to the other member.
  deaf->SetFault("", harness::Direction::kToClient, {.lose = true});
  ASSERT_OK_AND_ASSIGN(const uint64_t second, store->Put("a", "2", first));
  EXPECT_GT(deaf->bytes_lost(), 0);
  ASSERT_OK_AND_ASSIGN(const StoreEntry entry, direct->Get("a"));
  EXPECT_EQ(entry.value, "2");
  EXPECT_EQ(entry.revision, second);
  ASSERT_OK_AND_ASSIGN(const auto change, watch->Next(kDeadline));
  EXPECT_EQ(change->revision, second);
  ASSERT_OK(direct->Put("a", "3", second));
  ASSERT_OK_AND_ASSIGN(const auto next, watch->Next(kDeadline));
  EXPECT_EQ(next->value, "3") << "a second write of the same";
}

TEST_F(EtcdStoreTest, AWriteThatWasReplacedBeforeItsAnswerMayHaveHappened) {
  ASSERT_NO_FATAL_FAILURE(StartEtcd());
  const auto deaf = StartProxy(0);
  const auto direct = Open({});
  const auto store = Open({.endpoints = {proxy_addresses_[0]}, .timeout = kDeadline});
  ASSERT_OK_AND_ASSIGN(const uint64_t first, store->Put("a", "1", 0));
  deaf->SetFault("", harness::Direction::kToClient, {.lose = true});
  absl::Status outcome;
  std::thread writer([&] { outcome = store->Put("a", "2", first).status(); });
  ASSERT_OK(harness::WaitFor("it is written", kDeadline, [&]() -> absl::StatusOr<bool> {
    return NumberAt(*direct, "a").value_or(0) == 2;
  }));
  EXPECT_OK(direct->Put("a", "3", direct->Get("a")->revision));
  deaf->Heal();
  writer.join();
  EXPECT_EQ(outcome.code(), absl::StatusCode::kDeadlineExceeded) << outcome;
  EXPECT_EQ(direct->Get("a")->value, "3");
}

TEST_F(EtcdStoreTest, AWatchThatWasCutOffGoesOnWhereItWas) {
  ASSERT_NO_FATAL_FAILURE(StartEtcd());
  const auto proxy = StartProxy(0);
  const auto direct = Open({});
  const auto store = Open({.endpoints = {proxy_addresses_[0]}});
  ASSERT_OK_AND_ASSIGN(const auto watch, store->Watch("m/"));
  ASSERT_OK(direct->Put("m/1", "x", 0));
  ASSERT_OK_AND_ASSIGN(const auto first, watch->Next(kDeadline));
  ASSERT_TRUE(first.has_value());
  proxy->Cut("");
  ASSERT_OK(direct->Put("m/2", "y", 0));
  ASSERT_OK(direct->Put("m/3", "z", 0));
  proxy->Heal();
  ASSERT_OK_AND_ASSIGN(const auto second, watch->Next(kDeadline));
  ASSERT_OK_AND_ASSIGN(const auto third, watch->Next(kDeadline));
  ASSERT_TRUE(second.has_value() && third.has_value());
  EXPECT_EQ(second->key, "m/2");
  EXPECT_EQ(third->key, "m/3");
}

TEST_F(EtcdStoreTest, AWatchOfForgottenChangesSaysThatTheyAreGone) {
  ASSERT_NO_FATAL_FAILURE(StartEtcd());
  const auto proxy = StartProxy(0);
  const auto direct = Open({});
  const auto store = Open({.endpoints = {proxy_addresses_[0]}});
  ASSERT_OK_AND_ASSIGN(const auto watch, store->Watch("m/"));
  ASSERT_OK(direct->Put("m/1", "x", 0));
  ASSERT_OK_AND_ASSIGN(const auto first, watch->Next(kDeadline));
  ASSERT_TRUE(first.has_value());
  proxy->Cut("");
  ASSERT_OK_AND_ASSIGN(uint64_t revision, direct->Put("m/2", "y", 0));
  ASSERT_OK_AND_ASSIGN(revision, direct->Put("m/2", "z", revision));
  ASSERT_OK_AND_ASSIGN(revision, direct->Put("m/2", "zz", revision));
  ASSERT_OK(direct->ForgetHistory());  // remembers where it is
  ASSERT_OK(direct->ForgetHistory());
  proxy->Heal();
  const auto lost = watch->Next(kDeadline);
  EXPECT_EQ(lost.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(lost.status().message()), HasSubstr("list them again"));
  // And that is enough.
  ASSERT_OK_AND_ASSIGN(const auto entries, store->List("m/"));
  EXPECT_EQ(entries.size(), 2u);
  ASSERT_OK_AND_ASSIGN(const auto again, store->Watch("m/"));
  ASSERT_OK(direct->Put("m/3", "x", 0));
  ASSERT_OK_AND_ASSIGN(const auto change, again->Next(kDeadline));
  ASSERT_TRUE(change.has_value());
  EXPECT_EQ(change->key, "m/3");
}

TEST_F(EtcdStoreTest, SpeaksTlsWithACertificate) {
  ASSERT_OK_AND_ASSIGN(const auto folder, harness::TempFolder::Create());
  ASSERT_OK_AND_ASSIGN(const auto authority, harness::CertificateAuthority::Create(folder->path()));
  ASSERT_OK(authority->Issue("server", "server"));
  ASSERT_NO_FATAL_FAILURE(StartEtcd({.authority = authority.get()}));
  const EtcdSecurity all = {.ca = authority->ca_file(),
                            .certificate = authority->certificate_file("server"),
                            .key = authority->key_file("server")};
  const auto store = Open({.security = all});
  ASSERT_OK(store->Put("a", "1", 0));
  const auto plain = Open({});
  EXPECT_EQ(plain->Get("a").status().code(), absl::StatusCode::kUnavailable);
  const auto nobody = Open({.security = {.ca = authority->ca_file()}});
  EXPECT_EQ(nobody->Get("a").status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(EtcdStoreTest, LogsInAsAUserWhoMaySeeItsPrefixAlone) {
  ASSERT_NO_FATAL_FAILURE(StartEtcd());
  const auto channel =
      grpc::CreateChannel(etcd_->endpoints()[0], grpc::InsecureChannelCredentials());
  const auto auth = etcdserverpb::Auth::NewStub(channel);
  const auto call = [&](auto method, const auto& request, auto response) {
    grpc::ClientContext context;
    const grpc::Status status = (auth.get()->*method)(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  };
  using Stub = etcdserverpb::Auth::Stub;
  etcdserverpb::AuthRoleAddRequest role;
  role.set_name("root");
  call(&Stub::RoleAdd, role, etcdserverpb::AuthRoleAddResponse());
  role.set_name("bdr");
  call(&Stub::RoleAdd, role, etcdserverpb::AuthRoleAddResponse());
  etcdserverpb::AuthRoleGrantPermissionRequest permission;
  permission.set_name("bdr");
  permission.mutable_perm()->set_permtype(etcdserverpb::Permission::READWRITE);
  permission.mutable_perm()->set_key("bdr/");
  permission.mutable_perm()->set_range_end("bdr0");
  call(&Stub::RoleGrantPermission, permission, etcdserverpb::AuthRoleGrantPermissionResponse());
  for (const char* name : {"root", "bdr"}) {
    etcdserverpb::AuthUserAddRequest user;
    user.set_name(name);
    user.set_password("geheim");
    call(&Stub::UserAdd, user, etcdserverpb::AuthUserAddResponse());
    etcdserverpb::AuthUserGrantRoleRequest grant;
    grant.set_user(name);
    grant.set_role(name);
    call(&Stub::UserGrantRole, grant, etcdserverpb::AuthUserGrantRoleResponse());
  }
  call(&Stub::AuthEnable, etcdserverpb::AuthEnableRequest(), etcdserverpb::AuthEnableResponse());

  ASSERT_OK_AND_ASSIGN(const auto folder, harness::TempFolder::Create());
  const std::string password = folder->path() + "/password";
  ASSERT_OK(harness::WriteFile(password, "geheim\n", 0600));
  const auto store = Open({.security = {.user = "bdr", .password_file = password}});
  ASSERT_OK_AND_ASSIGN(const auto watch, store->Watch(""));
  ASSERT_OK_AND_ASSIGN(const uint64_t lease, store->GrantLease(absl::Seconds(10)));
  ASSERT_OK(store->Commit(
      {.compares = {{"a", 0}}, .writes = {{.key = "a", .value = "1", .lease = lease}}}));
  ASSERT_OK_AND_ASSIGN(const auto change, watch->Next(kDeadline));
  ASSERT_TRUE(change.has_value());
  ASSERT_OK(store->RenewLease(lease));
  ASSERT_OK(store->ForgetHistory());
  ASSERT_OK(store->ForgetHistory());
  ASSERT_OK(store->EndLease(lease));

  const auto elsewhere =
      Open({.prefix = "other", .security = {.user = "bdr", .password_file = password}});
  const absl::Status refused = elsewhere->Put("a", "1", 0).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  ASSERT_OK(harness::WriteFile(password, "falsch\n", 0600));
  const auto wrong = Open({.security = {.user = "bdr", .password_file = password}});
  const absl::Status failed = wrong->Get("a").status();
  EXPECT_EQ(failed.code(), absl::StatusCode::kFailedPrecondition) << failed;
  EXPECT_THAT(std::string(failed.message()), ::testing::Not(HasSubstr("falsch")));
}

TEST(StoreChoiceTest, SaysWhatIsWrongWithAnUrl) {
  ASSERT_OK_AND_ASSIGN(const EtcdOptions options, ParseEtcdUrl("etcd://a:1,[::1]:2/x/y"));
  EXPECT_THAT(options.endpoints, ::testing::ElementsAre("a:1", "[::1]:2"));
  EXPECT_EQ(options.prefix, "x/y");
  EXPECT_EQ(ParseEtcdUrl("etcd://a:1")->prefix, "bdr");
  for (const char* wrong : {"", "etcd://", "etcd://a", "http://a:1", "etcd://a:1/", "etcd://a:1//x",
                            "etcd://a:1/x y", "etcd://user:secret@a:1/x"}) {
    const absl::Status status = ParseEtcdUrl(wrong).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << wrong;
    EXPECT_THAT(std::string(status.message()), HasSubstr("etcd://HOST:PORT"));
    EXPECT_THAT(std::string(status.message()), ::testing::Not(HasSubstr("secret")));
    EXPECT_FALSE(IsStore(wrong)) << wrong;
  }
  EXPECT_TRUE(IsStore("embedded"));
}

TEST(StoreChoiceTest, PlaintextIsForLoopbackAlone) {
  const auto refused = OpenStore({.store = "etcd://192.0.2.1:2379"});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("etcd.ca"));
  EXPECT_FALSE(OpenStore({.store = "etcd://127.0.0.1:1", .etcd = {.user = "u"}}).ok());
  EXPECT_FALSE(OpenStore({.store = "etcd://127.0.0.1:1", .etcd = {.certificate = "/x"}}).ok());
}

}  // namespace
}  // namespace bdr::server
