#include "node-agent/apply/pipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/testing.h"
#include "tests/harness/postgres_server.h"

namespace bdr::agent {
namespace {

// A handler that queues another statement made Finish() take the answer to its Sync for that
// statement's, and wait for ever for the real one, with all locks held.
TEST(PipeTest, WhatAHandlerQueuesIsAnsweredByTheNextFinish) {
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<harness::PostgresServer> server,
                       harness::PostgresServer::Create());
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<postgres::Connection> connection, server->Connect());
  ASSERT_OK(connection->EnterPipeline());
  Pipe pipe(connection.get());
  std::string seen;
  const auto select = [&](const std::string& value) {
    return [&pipe, &seen, value](Pipe::Handler then) {
      return pipe.Run(
          "again", [] { return "SELECT 'again'"; }, {}, {},
          [&seen, value, then = std::move(then)](const postgres::Result& result) -> absl::Status {
            seen += value + "=" + std::string(result.value(0, 0)) + " ";
            return then ? then(result) : absl::OkStatus();
          });
    };
  };
  ASSERT_OK(pipe.Exec("SELECT 'first'", [&](const postgres::Result& result) -> absl::Status {
    seen += std::string(result.value(0, 0)) + " ";
    const absl::Status queued = select("one")(nullptr);
    return queued.ok() ? select("two")(nullptr) : queued;
  }));
  ASSERT_OK(pipe.Finish());
  EXPECT_EQ(seen, "first ");
  // Prepared once, though the first answer to that is yet to come.
  ASSERT_OK(select("three")(nullptr));
  ASSERT_OK(pipe.Finish());
  EXPECT_EQ(seen, "first one=again two=again three=again ");
  ASSERT_OK(pipe.Finish());
}

}  // namespace
}  // namespace bdr::agent
