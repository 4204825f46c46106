// Writes the changes of one committed transaction into blocks, their values in the forms in which
// they travel (wire_forms.h).
//
// PostgreSQL is asked for such forms, which takes a round trip. So once a change needs one, it and
// those behind it wait, up to a bound, are converted together, and go on in their order. Of a
// transaction that is in memory anyway nothing is written before everything could be converted:
// what is refused is tried again for as long as a person takes, and would be written each time.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "node-agent/capture/block_writer.h"
#include "node-agent/capture/own_relations.h"
#include "node-agent/capture/transaction_assembler.h"
#include "node-agent/changelog/block.h"
#include "node-agent/positions/server_past.h"

namespace bdr::agent {

// Not thread-safe: belongs to a session of capture. After an error both it and the BlockWriter must
// be thrown away.
class TransactionWriter {
 public:
  struct Transaction {
    TransactionHeader header;
    CapturedCommit commit;
    size_t expected_bytes = 0;  // as BlockWriter::Begin()
  };
  // `as_text`: all values came as texts. Both pointers outlive it.
  TransactionWriter(Transaction transaction, bool as_text, OwnRelations* relations,
                    BlockWriter* blocks)
      : transaction_(std::move(transaction)),
        as_text_(as_text),
        relations_(relations),
        blocks_(blocks) {}

  // PostgreSQL has to be asked for the forms of the change's values.
  bool NeedsForms(const AssembledChange& change) const;
  // All changes of the transaction wait for the last one. Before any is added.
  void HoldBack() { holds_back_ = true; }

  // A change that travels. Errors as WireForms::Convert() and BlockWriter::Add().
  absl::Status Add(const AssembledChange& change);
  // To be called after the last one. A transaction without changes leaves nothing behind.
  absl::Status End();

  // After an error: PostgreSQL refuses to give a value its form.
  bool refused() const { return refused_; }

 private:
  using Relation = std::shared_ptr<const CapturedRelation>;
  struct Waiting {
    std::vector<Relation> relations;
    bool truncate = false;
    std::string bytes;
  };
  absl::Status ConvertWaiting();
  absl::Status WriteWaiting();
  absl::Status Write(absl::Span<const Relation> relations, bool truncate, absl::string_view bytes);

  const Transaction transaction_;
  const bool as_text_;
  OwnRelations* const relations_;
  BlockWriter* const blocks_;
  std::vector<Waiting> waiting_;
  size_t converted_ = 0;          // of those that wait, the first ones
  size_t unconverted_bytes_ = 0;  // of the others
  bool holds_back_ = false;
  bool begun_ = false;
  bool refused_ = false;
};

}  // namespace bdr::agent
