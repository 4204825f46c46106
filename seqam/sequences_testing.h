// What tests of sequence access methods have in common: databases of one PostgreSQL server, each
// set up as a node of its own, and sessions that draw ids at the same time.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iterator>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/testing.h"
#include "postgres/connection.h"
#include "postgres/setup/setup_sql.h"
#include "tests/harness/postgres_server.h"

namespace bdr::seqam {

// A database of `server` that is prepared as a node's, dropped first if there is one.
inline absl::Status MakeNode(harness::PostgresServer& server, const std::string& database) {
  server.sessions().Clear();
  RETURN_IF_ERROR(server.RunScript(absl::StrCat("DROP DATABASE IF EXISTS ", database,
                                                " WITH (FORCE);", "CREATE DATABASE ", database)));
  ASSIGN_OR_RETURN(const std::string script, pg_setup::SetupSql({.settings = false}));
  return server.RunScript(script, database);
}

inline absl::StatusOr<std::vector<int64_t>> Ids(postgres::Connection& session,
                                                const std::string& sql) {
  ASSIGN_OR_RETURN(const postgres::Result rows, session.Exec(sql));
  std::vector<int64_t> ids;
  for (int row = 0; row < rows.rows(); ++row) {
    int64_t id = 0;
    if (rows.is_null(row, 0) || !absl::SimpleAtoi(rows.value(row, 0), &id)) {
      return absl::InternalError(absl::StrCat("no id: \"", rows.value(row, 0), "\""));
    }
    ids.push_back(id);
  }
  return ids;
}

// `draw` in as many threads at once, each in a session of its own; what they gave, in the order in
// which each session got it.
inline absl::StatusOr<std::vector<std::vector<int64_t>>> DrawAtOnce(
    const harness::PostgresServer& server, const std::string& database, int sessions,
    const std::function<absl::StatusOr<std::vector<int64_t>>(postgres::Connection&)>& draw) {
  std::vector<absl::StatusOr<std::vector<int64_t>>> drawn(static_cast<size_t>(sessions),
                                                          absl::UnknownError("did not run"));
  std::vector<std::thread> threads;
  for (auto& ids : drawn) {
    threads.emplace_back([&server, &database, &draw, &ids] {
      auto session = server.Connect("postgres", database);
      if (!session.ok()) {
        ids = session.status();
      } else {
        ids = draw(**session);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<std::vector<int64_t>> all;
  for (auto& ids : drawn) {
    RETURN_IF_ERROR(ids.status());
    all.push_back(*std::move(ids));
  }
  return all;
}

inline std::vector<int64_t> Flat(const std::vector<std::vector<int64_t>>& lists) {
  std::vector<int64_t> all;
  for (const auto& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

// Those that are there more than once.
inline std::vector<int64_t> Duplicates(std::vector<int64_t> ids) {
  std::sort(ids.begin(), ids.end());
  std::vector<int64_t> twice;
  for (size_t i = 1; i < ids.size(); ++i) {
    if (ids[i] == ids[i - 1]) twice.push_back(ids[i]);
  }
  return twice;
}

}  // namespace bdr::seqam
