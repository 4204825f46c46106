#include "bench/grants.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "bdr/v1/control.grpc.pb.h"
#include "seqam/galloc/layout.h"
#include "tests/harness/cluster.h"
#include "tests/harness/etcd.h"

namespace bdr::bench {
namespace {

constexpr int kAskers[] = {1, 4, 16};
constexpr int kMostAskers = 16;

using Stub = v1::ControlPlane::Stub;

absl::Status FromGrpc(const char* call, const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = absl::StrCat(call, ": ", status.error_message());
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ? absl::UnavailableError(message)
                                                              : absl::InternalError(message);
}

struct Asker {
  std::unique_ptr<Stub> stub;
  uint32_t sequence = 0;
  std::vector<double> milliseconds;  // that each answer took, with what was refused before it
  int refused = 0;                   // "try again"
  absl::Status status;
};

void Ask(Asker* asker, absl::Time until) {
  v1::GrantChunkRequest request;
  request.set_node("n1");
  request.set_number(asker->sequence);
  request.set_count(uint64_t{1} << seqam::FindGallocKind("bigint")->unit);
  absl::Time begun = absl::Now();
  while (absl::Now() < until && asker->status.ok()) {
    grpc::ClientContext context;
    v1::GrantChunkResponse response;
    asker->status = FromGrpc("GrantChunk", asker->stub->GrantChunk(&context, request, &response));
    if (absl::IsUnavailable(asker->status)) {
      ++asker->refused;
      asker->status = absl::OkStatus();
      continue;  // as an agent does
    }
    const absl::Time ended = absl::Now();
    asker->milliseconds.push_back(absl::ToDoubleMilliseconds(ended - begun));
    begun = ended;
  }
}

// Connections are what askers do not share.
std::unique_ptr<Stub> Connect(const harness::Cluster& cluster, int server, int connection) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("bdr.bench.connection", connection);
  return v1::ControlPlane::NewStub(
      grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", cluster.server_port(server)),
                                grpc::InsecureChannelCredentials(), arguments));
}

absl::StatusOr<std::vector<uint32_t>> MakeSequences(const harness::Cluster& cluster) {
  std::vector<uint32_t> numbers;
  const std::unique_ptr<Stub> stub = Connect(cluster, 0, 0);
  for (int i = 0; i < kMostAskers; ++i) {
    v1::ConvertSequenceRequest request;
    request.set_name(absl::StrCat("bench.s", i));
    request.set_method("galloc");
    request.set_data_type("bigint");
    request.set_first(1);
    request.set_last(int64_t{1} << 45);
    grpc::ClientContext context;
    v1::ConvertSequenceResponse response;
    RETURN_IF_ERROR(
        FromGrpc("ConvertSequence", stub->ConvertSequence(&context, request, &response)));
    numbers.push_back(response.sequence().number());
  }
  return numbers;
}

struct Answers {
  std::vector<double> milliseconds;  // sorted
  int refused = 0;
};

absl::StatusOr<Answers> Turn(const harness::Cluster& cluster, int servers,
                             const std::vector<uint32_t>& sequences, int askers, int seconds) {
  std::vector<Asker> all(static_cast<size_t>(askers));
  for (size_t i = 0; i < all.size(); ++i) {
    const int number = static_cast<int>(i);
    all[i].stub = Connect(cluster, number % servers, number);
    all[i].sequence = sequences[i % sequences.size()];
  }
  const absl::Time until = absl::Now() + absl::Seconds(seconds);
  std::vector<std::thread> threads;
  for (Asker& asker : all) threads.emplace_back([&asker, until] { Ask(&asker, until); });
  for (std::thread& thread : threads) thread.join();
  Answers answers;
  std::vector<double>& taken = answers.milliseconds;
  for (const Asker& asker : all) {
    RETURN_IF_ERROR(asker.status);
    taken.insert(taken.end(), asker.milliseconds.begin(), asker.milliseconds.end());
    answers.refused += asker.refused;
  }
  std::sort(taken.begin(), taken.end());
  if (taken.empty()) return absl::InternalError("nothing was granted");
  return answers;
}

absl::Status MeasureStore(const std::string& name, harness::ClusterOptions options,
                          const GrantSettings& settings, Figures* figures) {
  options.nodes.clear();
  const int servers = options.servers;
  ASSIGN_OR_RETURN(const auto cluster, harness::Cluster::Start(std::move(options)));
  ASSIGN_OR_RETURN(const std::vector<uint32_t> sequences, MakeSequences(*cluster));
  for (const bool shared : {true, false}) {
    for (const int askers : kAskers) {
      if (!shared && askers == 1) continue;
      const std::vector<uint32_t> asked = shared ? std::vector<uint32_t>{sequences[0]} : sequences;
      ASSIGN_OR_RETURN(const Answers answers,
                       Turn(*cluster, servers, asked, askers, settings.seconds));
      const std::vector<double>& taken = answers.milliseconds;
      const double rate = static_cast<double>(taken.size()) / settings.seconds;
      const auto quantile = [&taken](double share) {
        return taken[static_cast<size_t>(share * static_cast<double>(taken.size() - 1))];
      };
      const char* const of = shared ? "one sequence" : "one sequence each";
      std::printf("%-24s %-20s %7d %14.0f %10.2f %10.2f %10.2f %10d\n", name.c_str(), of, askers,
                  rate, quantile(0.5), quantile(0.99), taken.back(), answers.refused);
      std::fflush(stdout);
      figures->Add("grants of chunks", name,
                   {{"sequences", shared ? 1 : askers},
                    {"askers", askers},
                    {"grants_a_second", rate},
                    {"p50_ms", quantile(0.5)},
                    {"p99_ms", quantile(0.99)},
                    {"max_ms", taken.back()},
                    {"refused", answers.refused}});
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status MeasureGrants(const GrantSettings& settings, Figures* figures) {
  std::printf("\nchunks granted by bdr-server; ms an answer\n");
  std::printf("%-24s %-20s %7s %14s %10s %10s %10s %10s\n", "store", "askers ask for", "askers",
              "grants/s", "p50", "p99", "max", "refused");
  RETURN_IF_ERROR(MeasureStore("embedded", {}, settings, figures));
  const auto etcd = harness::EtcdCluster::Start();
  if (absl::IsNotFound(etcd.status())) {
    std::printf("left out: %s\n", std::string(etcd.status().message()).c_str());
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(etcd.status());
  harness::ClusterOptions options;
  options.servers = 2;
  options.server_config = absl::StrCat("store: ", (*etcd)->Url(), "\n");
  return MeasureStore("etcd, three members", std::move(options), settings, figures);
}

}  // namespace bdr::bench
