// What tests against one PostgreSQL server have in common: each suite has a server of its own.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "base/testing.h"
#include "tests/harness/postgres_server.h"

namespace bdr::harness {

class PostgresTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { ASSERT_OK_AND_ASSIGN(server_, PostgresServer::Create()); }
  static void TearDownTestSuite() { server_.reset(); }

  static inline std::unique_ptr<PostgresServer> server_;
};

// At the beginning of a suite's own SetUpTestSuite(): ends that if there is no server.
#define BDR_START_POSTGRES() ASSERT_NO_FATAL_FAILURE(harness::PostgresTest::SetUpTestSuite())

}  // namespace bdr::harness
