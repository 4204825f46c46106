#include "tests/chaos/journal.h"

#include <utility>

namespace bdr::chaos {

int64_t Journal::TakeNumbers(int64_t count) {
  MutexLock lock(&mu_);
  const int64_t first = next_number_;
  next_number_ += count;
  return first;
}

int64_t Journal::TakeTransaction() {
  MutexLock lock(&mu_);
  return next_transaction_++;
}

void Journal::Add(JournaledTransaction transaction) {
  MutexLock lock(&mu_);
  if (transaction.acknowledged) ++acknowledged_;
  transactions_.push_back(std::move(transaction));
}

std::vector<JournaledTransaction> Journal::transactions() const {
  MutexLock lock(&mu_);
  return transactions_;
}

int64_t Journal::acknowledged() const {
  MutexLock lock(&mu_);
  return acknowledged_;
}

}  // namespace bdr::chaos
