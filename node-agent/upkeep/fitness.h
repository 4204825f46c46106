// Whether the database is still fit to be a node: settings, rights, publications, row security.
//
// All of it was right when the agent began. Whoever takes some of it away breaks nothing that can
// be seen before a row needs it, which may be weeks later. So it is looked at again each minute,
// and whenever PostgreSQL has come back. Tables that are not published are another part's
// (unpublished_tables.h), which puts that right by itself.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/health.h"
#include "base/mutex.h"
#include "postgres/connection.h"

namespace bdr::agent {

// Thread-safe. Looks on a thread of its own, so that a server which is slow to answer holds up
// nobody, and each time with a new connection: sessions that live on need not show that there can
// be no more.
class Fitness {
 public:
  struct Options {
    std::string conninfo;
    absl::Duration interval = absl::Minutes(1);
    // While something is wrong, so that it is soon known that it was mended.
    absl::Duration interval_unfit = absl::Seconds(5);
  };
  explicit Fitness(Options options);
  ~Fitness();
  Fitness(const Fitness&) = delete;
  Fitness& operator=(const Fitness&) = delete;

  // The connection to the server was lost and is there again: it may have other settings.
  void Reconnected();

  // Critical while something does not work, with what mends it. While PostgreSQL does not answer it
  // is as it was: that itself is for others to tell.
  Health health() const { return health_.Get(); }

 private:
  void Run();
  // False once it is to end.
  bool WaitFor(absl::Duration pause);
  absl::Status Look();
  // What is wrong; "" if nothing is.
  absl::StatusOr<std::string> AskServer();
  void Tell(const std::string& against);

  const Options options_;
  HealthCell health_{"fit"};
  absl::Time looked_ = absl::InfinitePast();  // the thread's: when a look ended

  mutable Mutex mu_;
  CondVar woken_;
  bool wanted_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  postgres::Connection* looking_ ABSL_GUARDED_BY(mu_) = nullptr;  // to be cancelled
  std::thread thread_;                                            // last: uses all of the above
};

}  // namespace bdr::agent
