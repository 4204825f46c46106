#include "tests/model/reference.h"

namespace bdr::model {

Rows Expected(const std::vector<const Transaction*>& all, int constraints) {
  struct Newest {
    Stamp stamp = conflict::kNever;
    const Change* change = nullptr;
  };
  std::array<Newest, kMaxKeys> newest{};
  for (const Transaction* transaction : all) {
    const Stamp stamp = transaction->header.stamp;
    for (const Change& change : transaction->changes) {
      for (int key = 0; key < kMaxKeys; ++key) {
        if (change.kind != Kind::kTruncate && change.key != key) continue;
        // Of one transaction the later change.
        if (stamp >= newest[key].stamp) newest[key] = {.stamp = stamp, .change = &change};
      }
    }
  }
  Rows rows;
  for (int key = 0; key < kMaxKeys; ++key) {
    const Newest& version = newest[key];
    if (version.change == nullptr || !version.change->writes()) continue;
    bool claimed_later = false;
    for (const Transaction* transaction : all) {
      if (transaction->header.stamp <= version.stamp) continue;
      for (size_t i = 0; i < transaction->changes.size(); ++i) {
        const Change& change = transaction->changes[i];
        claimed_later |= change.writes() && !transaction->Superseded(i) && change.key != key &&
                         Conflicting(change.row, version.change->row, constraints);
      }
    }
    if (!claimed_later) rows[key] = version.change->row;
  }
  return rows;
}

}  // namespace bdr::model
