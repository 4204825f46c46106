// Changes that the function of a custom policy refused: it raised. Such a change counts as not made
// on every node alike, so nothing stops and nodes do not differ; but somebody's write is not in the
// row, so it is put among the dead letters, each once, and waits there for a person. While it does,
// the histories of rows stay (DeadLetters), so that the function can be mended and asked again.
#pragma once

#include <deque>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "node-agent/apply/letters/dead_letters.h"
#include "node-agent/apply/session/pipe.h"
#include "node-agent/apply/write/fold_executor.h"
#include "postgres/catalog.h"

namespace bdr::agent {

// Queues its lines in bdr.conflict_log and bdr.dead_letter, unless it has them already. What was
// written is added to `letters`, which outlives the pipe's next Finish().
absl::Status QueueRefused(const RefusedChange& refused, Pipe* pipe,
                          std::deque<DeadLetter>* letters);

// Where a letter's row is.
struct RefusedRow {
  std::string schema;
  std::string table;
  std::string version_key;
};

// Queues the lock of the letter and reads where its row is. kNotFound if the letter is gone.
absl::Status QueueReadRefused(int64_t letter, Pipe* pipe, RefusedRow* row);

// The table as if it came from another node.
RemoteRelation RelationOf(const postgres::TableInfo& table);

}  // namespace bdr::agent
