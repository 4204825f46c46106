// Bringing one sequence to another method on every node.
//
// Until it has the method on all nodes, no number may be given out twice. So it goes in three
// steps, each on all nodes before the next:
//
//   look     the highest number that any node uses
//   cap      no node gives out numbers above a limit beyond that by itself any more
//   convert  bdr-server writes down that the method's numbers begin above the limit, and then node
//            after node is converted; one that is not yet goes on below the limit
//
// It may be interrupted anywhere and begun again: a limit is only ever raised, until bdr-server
// knows the sequence; from then on it holds. What matters then is which nodes are *settled*: they
// have the method already, under the number that bdr-server knows. They are left alone. A node that
// is added later, or whose table was made anew, is brought to the method beside them, beyond what
// it uses itself; by the stepped methods with as many slots as they have.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ctl/output.h"
#include "ctl/rpc.h"
#include "ctl/sequence_nodes.h"

namespace bdr::ctl {

struct SequenceWish {
  std::string sequence = "";  // SCHEMA.NAME, each quoted where it must be
  std::string method = "";
  // Of the stepped methods; a node has the slot of its id less one. 0: as many as there are, or
  // with room for as many nodes again.
  uint32_t slots = 0;
  uint32_t block = 0;    // of stepped_blocks; 0: as it is, or 1024
  bool by_hand = false;  // it takes a person's time until every node is converted
};

class SequenceConversion {
 public:
  // `nodes`, all of the cluster's, must outlive it.
  SequenceConversion(SequenceWish wish, std::vector<SequenceNode>* nodes);

  // Looks at what there is, and how fast it is drawn from, and decides what is to be done. Changes
  // nothing. kNotFound for a node that has no such sequence; kFailedPrecondition, with what to do,
  // if it cannot be done.
  absl::Status Look(const Server& server);
  // After Look(): every node has it already.
  bool done() const;
  // After Look(). Does nothing if it is done.
  absl::Status Run(const Server& server);

  // After Look(), in place of Run(): the same two statements for every node, of which each node
  // needs the first before any may run the second. Both change nothing where they were run, and are
  // empty if it is done. With `reserve` bdr-server is told. kFailedPrecondition if other nodes need
  // others.
  struct Statements {
    std::string check = "";  // fails where something else has become of the sequence since
    std::string cap = "";
    std::string convert = "";
  };
  absl::StatusOr<Statements> StatementsForAnyNode(const Server& server, bool reserve);

  // One line of what was done; with `dry_run` what uses the sequence, and what would be run.
  std::string Text(bool dry_run) const;
  Json Document(bool dry_run) const;

 private:
  struct Node {
    SequenceNode* node = nullptr;
    std::string method = "";             // as it is now
    uint32_t number = 0;                 // likewise; 0: it is PostgreSQL's own
    uint32_t slots = 0;                  // likewise, of the stepped methods
    uint32_t block = 0;                  // likewise, of stepped_blocks
    bool capped = false;                 // on its way to another method
    bool switching = false;              // its slots are being changed
    std::string data_type = "";          // as it was before any method
    int64_t max = 0;                     // likewise
    int64_t present_max = 0;             // of the sequence itself, as it is now
    int64_t highest = 0;                 // in use; 0: none
    std::vector<std::string> uses = {};  // columns, functions, views
    bool settled = false;
  };

  absl::Status LookOnce();
  absl::Status LookAtNode(Node* node);
  absl::Status Measure();
  // What bdr-server knows of it: by the number that nodes have, since it may have been renamed, or
  // by its name.
  absl::Status FindKnown(const Server& server);
  absl::Status CheckNumberIsFree();
  bool IsSettled(const Node& node) const;
  // Kept below the numbers that the method begins at.
  bool IsHeld(const Node& node) const;
  absl::Status ChooseSlots();
  // kFailedPrecondition if a node has no slot, or the method has none.
  absl::Status CheckSlots() const;
  // kFailedPrecondition if no number is left for the method.
  absl::Status ChooseFirst();
  absl::Status AtItsMaxvalue() const;
  // The least from `first` on by which a node's blocks are dealt as those of settled nodes are.
  int64_t InStepWithSettled(int64_t first) const;
  bool IsGapless() const;
  bool AnySettled() const;
  // kFailedPrecondition if a node is to join the others' turns and is beyond them.
  absl::Status CheckGapless() const;
  // The last number that the node gives out until it is converted.
  int64_t CapOf(const Node& node) const;

  std::string CapSql(int64_t last) const;
  std::string ConvertSql(absl::string_view number, const Node& node) const;
  std::string Parameters(const Node& node) const;
  std::string StatementsText() const;
  // Brings settled nodes to as many slots as are wished for.
  absl::Status Widen(const Server& server);
  absl::Status TellServer(const Server& server);
  // Where somebody holds a lock that it needs it tries again, so that nobody waits behind it.
  // The first value of the last result, if there is one.
  absl::StatusOr<std::string> RunOn(Node& node, const std::string& sql);
  absl::Status Rehearse(Node& node);
  // Enough for what is drawn while nodes are converted one after the other.
  int64_t Limit() const;

  SequenceWish wish_;
  std::vector<Node> nodes_;
  std::optional<v1::SequenceState> known_;
  double per_second_ = 0;  // numbers drawn, of all nodes
  bool widens_ = false;    // settled nodes get other slots
  bool begun_ = false;     // bdr-server knows of it, and nodes are held below
  int64_t last_ = 0;       // unless it is begun: the limit
  uint32_t number_ = 0;
  int64_t first_ = 0;
  bool ran_ = false;
};

}  // namespace bdr::ctl
