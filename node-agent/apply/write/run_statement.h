// Queues a statement on a pipe.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "node-agent/apply/session/pipe.h"
#include "node-agent/tables/statements.h"

namespace bdr::agent {

// As Pipe::Run(), whose parameters' types PostgreSQL infers.
inline absl::Status Run(Pipe* pipe, const Statement& statement,
                        const std::vector<std::string>& params, Pipe::Handler handler,
                        bool binary_result = false) {
  return pipe->Run(statement.name, statement.sql, kInferred, params, std::move(handler),
                   binary_result);
}

}  // namespace bdr::agent
