// What kind of work an applier does: another node's transactions, or this node's own once more.
#pragma once

namespace bdr::agent {

enum class WorkKind {
  // Transactions of another node, from its change log. They come again after a crash, by
  // bdr.progress; foreign keys are checked; what is not written, since it is gone here, is logged.
  kRemote,
  // Changes of this node that an applier may have decided without. They are in the database
  // already and only their rows are merged again: no progress, no foreign keys, nothing of tables
  // without a key. Nobody sends them again.
  kOwn,
};

}  // namespace bdr::agent
