// The agent's line to bdr-server: reports about once a second, and brings back the members.
//
// Nothing of the data path waits for it. While no server answers, the agent goes on with the
// members that it knows; the line only says so, once, and keeps trying.
//
// States: connecting -> connected (a report was answered) -> connecting (a call failed: the next
// address is tried, with backoff once all of them failed).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/metrics.h"
#include "base/security_options.h"
#include "node-agent/cluster/membership.h"

namespace bdr::v1 {
class Membership;
class NodeSchema;
class ReportRequest;
class ReportResponse;
}  // namespace bdr::v1

namespace bdr::agent {

struct ControlOptions {
  std::string node;                  // this node's name
  std::vector<std::string> servers;  // host:port, tried in turn
  SecurityOptions security = {};
  absl::Duration interval = absl::Seconds(1);
  absl::Duration call_timeout = absl::Seconds(3);
  Metrics* metrics = nullptr;  // counts bdr_errors_total{part="control"}; null: nothing does
  // Told every answer to a report; returns the nodes whose tables' shapes are to be fetched, which
  // are then given to `on_schema`. Both on the client's thread; must not block. Null: none are.
  std::function<std::vector<std::string>(const v1::ReportResponse&)> wanted_schemas = nullptr;
  std::function<void(const v1::NodeSchema&)> on_schema = nullptr;
  // Adds all that is known of the cluster to a report. Called as FillReport is, as long as no
  // bdr-server has answered the report before: it may have lost what it knew. Null: nobody is told.
  std::function<void(v1::Membership*)> fill_known = nullptr;
};

// Owns one thread, which makes every call and on which every callback comes; so callbacks never
// come two at a time. Kick() and LastReport() are for any thread, also from within a callback.
class ControlClient {
 public:
  // Sets status, captures, cluster_id and incarnation of a report; the name is set already. Called
  // on the client's thread before each report; must not block for long.
  using FillReport = std::function<void(v1::ReportRequest*)>;
  // Called on the client's thread with every membership that differs from the one before it, in
  // order. May call Kick(), not Stop().
  using OnMembership = std::function<void(const Membership&)>;

  // Starts the thread. kInvalidArgument for options that cannot work (no servers, bad addresses,
  // unreadable certificates); a server that does not answer is no error.
  static absl::StatusOr<std::unique_ptr<ControlClient>> Start(ControlOptions options,
                                                              FillReport fill_report,
                                                              OnMembership on_membership);
  // Ends a call under way and the thread. Neither callback is called any more once it returns.
  ~ControlClient();
  ControlClient(const ControlClient&) = delete;
  ControlClient& operator=(const ControlClient&) = delete;

  // Reports at once, not at the end of the interval. Thread-safe.
  void Kick();

  // OK while connected, else why the last report failed (kNotFound: the cluster has no node of this
  // name). Thread-safe.
  absl::Status LastReport() const;

 private:
  struct Impl;
  explicit ControlClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bdr::agent
