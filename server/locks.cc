#include "server/locks.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "server/store_keys.h"

namespace bdr::server {
namespace {

constexpr int64_t kShortestTtlMs = 2'000;
constexpr int64_t kLongestTtlMs = 24 * 3600 * 1000;
constexpr int64_t kLongestTtlOfNodeMs = 10 * 60 * 1000;
constexpr size_t kMostTicketsOfNode = 100;
// Of a ticket before it is known to hold the lock.
constexpr int64_t kWaitingTtlMs = 10'000;

bool IsWord(absl::string_view word, size_t least, size_t most, absl::string_view others) {
  return word.size() >= least && word.size() <= most &&
         std::all_of(word.begin(), word.end(), [&](char c) {
           return absl::ascii_islower(static_cast<unsigned char>(c)) ||
                  absl::ascii_isdigit(static_cast<unsigned char>(c)) ||
                  absl::StrContains(others, absl::string_view(&c, 1));
         });
}

absl::Status CheckWords(const std::string& name, const std::string& ticket) {
  if (!IsWord(name, 1, 100, "._-") || absl::StrContains("._-", name.substr(0, 1))) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", name,
                     "\" is no name of a lock: up to 100 small letters, digits, '.', '_' and '-', "
                     "of which the first is a letter or digit"));
  }
  if (IsWord(ticket, 8, 64, "-")) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("\"", ticket, "\" is no ticket: 8 to 64 small letters, digits and '-'"));
}

absl::Status CheckRequest(const v1::AcquireLockRequest& request) {
  RETURN_IF_ERROR(CheckWords(request.name(), request.ticket()));
  constexpr size_t kLongest = 200;
  if (request.owner().empty() || request.owner().size() > kLongest ||
      request.reason().size() > kLongest) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a lock needs an owner, and owner and reason are at most ", kLongest, " bytes long each"));
  }
  if (request.ttl_ms() >= kShortestTtlMs && request.ttl_ms() <= kLongestTtlMs) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "a lock cannot be kept for ", absl::FormatDuration(absl::Milliseconds(request.ttl_ms())),
      " without being asked for again: 2s to 24h"));
}

std::string KeyOf(const std::string& name, const std::string& ticket) {
  return absl::StrCat(kLockPrefix, name, "/", ticket);
}

absl::Status Lost(const std::string& name) {
  return absl::AbortedError(absl::StrCat(
      "the ticket for lock \"", name,
      "\" has ended, so the lock is lost: what is done under it must stop; ask with a new ticket"));
}

absl::StatusOr<uint64_t> TokenBase(Store* store) {
  const absl::StatusOr<StoreEntry> entry = store->Get(kTokenBaseKey);
  if (absl::IsNotFound(entry.status())) return 0;
  RETURN_IF_ERROR(entry.status());
  uint64_t base = 0;
  if (absl::SimpleAtoi(entry->value, &base)) return base;
  return absl::InternalError("the store's entry \"token_base\" is damaged: restore a backup");
}

absl::StatusOr<v1::LockTicket> ToTicket(const StoreEntry& entry, uint64_t base) {
  v1::LockTicket ticket;
  if (!ticket.ParseFromString(entry.value)) {
    return absl::InternalError(
        absl::StrCat("the store's entry \"", entry.key, "\" is damaged: restore a backup"));
  }
  ticket.set_token(base + (ticket.order() != 0 ? ticket.order() : entry.revision));
  return ticket;
}

// Gives a ticket that holds its lock the time that was asked for. What came between is seen by
// asking again.
absl::Status KeepForItsTime(Store* store, const std::string& key) {
  ASSIGN_OR_RETURN(const StoreEntry entry, store->Get(key));
  v1::LockTicket ticket;
  if (!ticket.ParseFromString(entry.value) || ticket.order() != 0) return absl::OkStatus();
  const uint64_t short_lease = ticket.lease();
  ASSIGN_OR_RETURN(const uint64_t lease, store->GrantLease(absl::Milliseconds(ticket.ttl_ms())));
  ticket.set_order(entry.revision);
  ticket.set_lease(lease);
  const absl::Status written =
      store
          ->Commit({.compares = {{key, entry.revision}},
                    .writes = {{.key = key, .value = ticket.SerializeAsString(), .lease = lease}}})
          .status();
  if (absl::IsAborted(written)) {
    (void)store->EndLease(lease);  // ends by itself else; nothing is in it
    return absl::UnavailableError("the ticket has changed at this moment: ask again");
  }
  RETURN_IF_ERROR(written);
  (void)store->EndLease(short_lease);  // the key has left it, so it may as well end by itself
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<v1::LockTicket>> Locks::Queue(const std::string& prefix) {
  ASSIGN_OR_RETURN(const uint64_t base, TokenBase(store_));
  ASSIGN_OR_RETURN(const std::vector<StoreEntry> entries, store_->List(prefix));
  std::vector<v1::LockTicket> queue;
  for (const StoreEntry& entry : entries) {
    ASSIGN_OR_RETURN(v1::LockTicket ticket, ToTicket(entry, base));
    queue.push_back(std::move(ticket));
  }
  std::sort(queue.begin(), queue.end(), [](const v1::LockTicket& a, const v1::LockTicket& b) {
    return a.name() != b.name() ? a.name() < b.name() : a.token() < b.token();
  });
  for (size_t i = 0; i < queue.size(); ++i) {
    queue[i].set_held(i == 0 || queue[i - 1].name() != queue[i].name());
  }
  return queue;
}

absl::StatusOr<v1::AcquireLockResponse> Locks::Acquire(const v1::AcquireLockRequest& request,
                                                       int64_t now_us) {
  RETURN_IF_ERROR(CheckRequest(request));
  const std::string key = KeyOf(request.name(), request.ticket());
  const absl::StatusOr<StoreEntry> present = store_->Get(key);
  if (present.ok()) {
    ASSIGN_OR_RETURN(const v1::LockTicket known, ToTicket(*present, 0));
    if (known.owner() != request.owner()) {
      return absl::AlreadyExistsError(absl::StrCat("ticket \"", request.ticket(),
                                                   "\" is that of \"", known.owner(),
                                                   "\": make up another one"));
    }
    const absl::Status renewed = store_->RenewLease(known.lease());
    if (absl::IsNotFound(renewed)) return Lost(request.name());
    RETURN_IF_ERROR(renewed);
  } else if (!absl::IsNotFound(present.status())) {
    return present.status();
  } else if (request.token() != 0) {
    return Lost(request.name());
  } else {
    v1::LockTicket ticket;
    ticket.set_name(request.name());
    ticket.set_ticket(request.ticket());
    ticket.set_owner(request.owner());
    ticket.set_reason(request.reason());
    ticket.set_asked_us(now_us);
    ticket.set_ttl_ms(request.ttl_ms());
    ASSIGN_OR_RETURN(
        const uint64_t lease,
        store_->GrantLease(absl::Milliseconds(std::min(request.ttl_ms(), kWaitingTtlMs))));
    ticket.set_lease(lease);
    const absl::Status written =
        store_
            ->Commit(
                {.compares = {{key, 0}},
                 .writes = {{.key = key, .value = ticket.SerializeAsString(), .lease = lease}}})
            .status();
    // Nothing is in it then. After any other error the ticket may have been written with it.
    if (absl::IsAborted(written)) (void)store_->EndLease(lease);
    RETURN_IF_ERROR(written);
  }

  ASSIGN_OR_RETURN(const std::vector<v1::LockTicket> queue,
                   Queue(absl::StrCat(kLockPrefix, request.name(), "/")));
  v1::AcquireLockResponse response;
  for (const v1::LockTicket& ticket : queue) {
    if (ticket.ticket() == request.ticket()) {
      *response.mutable_lock() = ticket;
      break;
    }
    *response.add_ahead() = ticket;
  }
  // It has ended this moment; or it is another one than the caller's, made since.
  if (!response.has_lock() ||
      (request.token() != 0 && request.token() != response.lock().token())) {
    return Lost(request.name());
  }
  if (response.lock().held() && response.lock().ttl_ms() > kWaitingTtlMs &&
      response.lock().order() == 0) {
    const absl::Status kept = KeepForItsTime(store_, key);
    if (absl::IsNotFound(kept)) return Lost(request.name());
    RETURN_IF_ERROR(kept);
  }
  if (response.lock().held() || request.wait()) return response;
  RETURN_IF_ERROR(Release(request.name(), request.ticket(), "").status());
  return absl::FailedPreconditionError(absl::StrCat(
      "lock \"", request.name(), "\" is held by \"", response.ahead(0).owner(), "\"",
      response.ahead(0).reason().empty() ? "" : absl::StrCat(" (", response.ahead(0).reason(), ")"),
      ": wait for it, or see \"bdrctl lock list\""));
}

absl::Status Locks::CheckLimitsOfNode(const v1::AcquireLockRequest& request) {
  if (request.ttl_ms() > kLongestTtlOfNodeMs) {
    return absl::InvalidArgumentError(
        absl::StrCat("node \"", request.owner(), "\" cannot keep lock \"", request.name(),
                     "\" for ", absl::FormatDuration(absl::Milliseconds(request.ttl_ms())),
                     " without asking again: a node may for 10m, and renew it"));
  }
  ASSIGN_OR_RETURN(const std::vector<v1::LockTicket> tickets, List());
  size_t others = 0;
  for (const v1::LockTicket& ticket : tickets) {
    if (ticket.owner() != request.owner()) continue;
    // Renewing makes nothing more.
    if (ticket.name() == request.name() && ticket.ticket() == request.ticket()) {
      return absl::OkStatus();
    }
    ++others;
  }
  if (others < kMostTicketsOfNode) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("node \"", request.owner(), "\" cannot ask for lock \"", request.name(),
                   "\": it has ", others, " tickets, and a node may have ", kMostTicketsOfNode,
                   "; release some (\"bdrctl lock list\", \"bdrctl lock release\")"));
}

absl::StatusOr<bool> Locks::Release(const std::string& name, const std::string& ticket,
                                    const std::string& owner) {
  RETURN_IF_ERROR(CheckWords(name, ticket));
  const std::string key = KeyOf(name, ticket);
  const absl::StatusOr<StoreEntry> present = store_->Get(key);
  if (absl::IsNotFound(present.status())) return false;
  RETURN_IF_ERROR(present.status());
  ASSIGN_OR_RETURN(const v1::LockTicket known, ToTicket(*present, 0));
  if (!owner.empty() && known.owner() != owner) {
    return absl::PermissionDeniedError(absl::StrCat("lock \"", name, "\" is held by \"",
                                                    known.owner(), "\", not by \"", owner, "\""));
  }
  const absl::Status removed =
      store_->Commit({.compares = {{key, present->revision}}, .writes = {{.key = key}}}).status();
  if (absl::IsAborted(removed)) return false;  // its lease has just ended
  RETURN_IF_ERROR(removed);
  (void)store_->EndLease(known.lease());  // nothing is in it any more: it may end by itself
  return true;
}

absl::StatusOr<std::vector<v1::LockTicket>> Locks::List() { return Queue(kLockPrefix); }

absl::StatusOr<StoreCompare> Locks::Fence(const std::string& name, const std::string& ticket,
                                          uint64_t token) {
  const std::string key = KeyOf(name, ticket);
  const absl::StatusOr<StoreEntry> entry = store_->Get(key);
  if (absl::IsNotFound(entry.status())) return Lost(name);
  RETURN_IF_ERROR(entry.status());
  ASSIGN_OR_RETURN(const std::vector<v1::LockTicket> queue,
                   Queue(absl::StrCat(kLockPrefix, name, "/")));
  // Who is first stays so until its key is gone: others only ever queue up behind it.
  if (queue.empty() || queue[0].ticket() != ticket || queue[0].token() != token) {
    return Lost(name);
  }
  return StoreCompare{.key = key, .revision = entry->revision};
}

absl::Status CheckNoneHeld(Store* store) {
  ASSIGN_OR_RETURN(const std::vector<v1::LockTicket> tickets, Locks(store).List());
  if (tickets.empty()) return absl::OkStatus();
  std::set<std::string> names;
  for (const v1::LockTicket& ticket : tickets)
    names.insert(absl::StrCat("\"", ticket.name(), "\""));
  return absl::FailedPreconditionError(
      absl::StrCat("locks are held or waited for, which do not move: ", absl::StrJoin(names, ", "),
                   "; wait until they are released (\"bdrctl lock list\")"));
}

absl::StatusOr<uint64_t> NextTokenBase(Store* store, int64_t now_us) {
  ASSIGN_OR_RETURN(uint64_t base, TokenBase(store));
  ASSIGN_OR_RETURN(const std::vector<StoreEntry> entries, store->List(""));
  uint64_t newest = 0;
  for (const StoreEntry& entry : entries) newest = std::max(newest, entry.revision);
  // Revisions do not grow by one a microsecond, so this is also above those of keys that are gone.
  return std::max(base + newest + 1, static_cast<uint64_t>(now_us));
}

}  // namespace bdr::server
