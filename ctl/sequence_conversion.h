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
// knows the sequence; from then on it holds.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ctl/output.h"
#include "ctl/rpc.h"
#include "postgres/connection.h"

namespace bdr::ctl {

struct SequenceWish {
  std::string sequence = "";  // SCHEMA.NAME, each quoted where it must be
  std::string method = "";
  uint32_t slots = 0;  // of the stepped methods; a node has the slot of its id less one
  uint32_t block = 0;  // of stepped_blocks
};

class SequenceConversion {
 public:
  // Connects to every node's database, and makes sure that it is that node's: kFailedPrecondition
  // with what to do if not.
  static absl::StatusOr<SequenceConversion> Open(
      const SequenceWish& wish, const v1::Membership& membership,
      const std::map<std::string, std::string>& databases);

  // What there is, and how fast it is drawn from. Changes nothing. kNotFound for a node that has no
  // such sequence.
  absl::Status Look();
  // After Look().
  absl::Status Run(const Server& server);

  std::string Text(bool dry_run) const;
  Json Document(bool dry_run) const;

 private:
  struct Node {
    std::string name = "";
    uint32_t id = 0;
    std::unique_ptr<postgres::Connection> connection = nullptr;
    std::string method = "";             // as it is now
    uint32_t slots = 0;                  // likewise, of the stepped methods
    std::string data_type = "";          // as it was before any method
    int64_t max = 0;                     // likewise
    int64_t present_max = 0;             // of the sequence itself, as it is now
    int64_t highest = 0;                 // in use; 0: none
    std::vector<std::string> uses = {};  // columns, functions, views
  };

  absl::Status LookOnce();
  std::string CapSql(int64_t last) const;
  std::string ConvertSql(absl::string_view number, uint32_t node, int64_t first) const;
  std::string Parameters(uint32_t node) const;
  // kFailedPrecondition if a node has no slot, or the method has none.
  absl::Status CheckSlots() const;
  // All nodes have the method already: brings them to as many slots as are wished for.
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
  double per_second_ = 0;  // numbers drawn, of all nodes
  uint32_t number_ = 0;
  int64_t first_ = 0;
};

}  // namespace bdr::ctl
