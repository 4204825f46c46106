#include "node-agent/changelog/block_header.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "node-agent/changelog/varint.h"

namespace bdr::agent {
namespace {

// The two kinds of entries in one shape.
OriginId KeyOf(const OriginLsn& entry) { return entry.origin; }
OriginId KeyOf(const SeenUntil& entry) { return {.node = entry.node, .incarnation = 0}; }
uint64_t ValueOf(const OriginLsn& entry) { return entry.lsn.value; }
uint64_t ValueOf(const SeenUntil& entry) { return static_cast<uint64_t>(entry.time_us); }
void Make(OriginId key, uint64_t value, OriginLsn* entry) { *entry = {key, Lsn{value}}; }
void Make(OriginId key, uint64_t value, SeenUntil* entry) {
  *entry = {key.node, static_cast<int64_t>(value)};
}

void AppendKey(OriginId key, std::string* out) {
  AppendVarint(out, key.node);
  AppendVarint(out, key.incarnation);
}

bool TakeKey(absl::string_view* in, OriginId* key) {
  uint64_t node = 0;
  uint64_t incarnation = 0;
  if (!TakeVarint(in, &node) || !TakeVarint(in, &incarnation)) return false;
  if (node > kMaxNodeId || incarnation > UINT32_MAX) return false;
  *key = {static_cast<NodeId>(node), static_cast<uint32_t>(incarnation)};
  return true;
}

template <typename Entry>
void AppendList(const std::vector<Entry>& now, const std::vector<Entry>& before, std::string* out) {
  std::string changed;
  std::string vanished;
  uint64_t changed_count = 0;
  uint64_t vanished_count = 0;
  auto old = before.begin();
  for (const Entry& entry : now) {
    for (; old != before.end() && KeyOf(*old) < KeyOf(entry); ++old, ++vanished_count) {
      AppendKey(KeyOf(*old), &vanished);
    }
    uint64_t base = 0;
    if (old != before.end() && KeyOf(*old) == KeyOf(entry)) {
      base = ValueOf(*old);
      const bool same = *old == entry;
      ++old;
      if (same) continue;
    }
    ++changed_count;
    AppendKey(KeyOf(entry), &changed);
    AppendVarint(&changed, EncodeDifference(ValueOf(entry), base));
  }
  for (; old != before.end(); ++old, ++vanished_count) AppendKey(KeyOf(*old), &vanished);

  AppendVarint(out, changed_count);
  out->append(changed);
  AppendVarint(out, vanished_count);
  out->append(vanished);
}

template <typename Entry>
typename std::vector<Entry>::iterator Place(std::vector<Entry>* list, OriginId key) {
  return std::lower_bound(list->begin(), list->end(), key,
                          [](const Entry& entry, OriginId k) { return KeyOf(entry) < k; });
}

template <typename Entry>
bool TakeList(absl::string_view* in, std::vector<Entry>* list) {
  uint64_t count = 0;
  OriginId key;
  if (!TakeVarint(in, &count)) return false;
  for (; count > 0; --count) {
    uint64_t difference = 0;
    if (!TakeKey(in, &key) || !TakeVarint(in, &difference)) return false;
    auto place = Place(list, key);
    if (place == list->end() || KeyOf(*place) != key) {
      place = list->insert(place, Entry{});
      Make(key, 0, &*place);
    }
    Make(key, DecodeDifference(difference, ValueOf(*place)), &*place);
  }
  if (!TakeVarint(in, &count)) return false;
  for (; count > 0; --count) {
    if (!TakeKey(in, &key)) return false;
    const auto place = Place(list, key);
    if (place == list->end() || KeyOf(*place) != key) return false;
    list->erase(place);
  }
  return true;
}

// `better` of two entries with the same key is kept.
template <typename Entry, typename Better>
void CanonicalizeList(std::vector<Entry>* list, Better better) {
  const auto rises = [](const Entry& a, const Entry& b) { return KeyOf(a) < KeyOf(b); };
  const auto not_above = [&](const Entry& a, const Entry& b) { return !rises(a, b); };
  if (std::adjacent_find(list->begin(), list->end(), not_above) == list->end()) return;
  std::sort(list->begin(), list->end(), [&](const Entry& a, const Entry& b) {
    return rises(a, b) || (!rises(b, a) && better(a, b));
  });
  list->erase(std::unique(list->begin(), list->end(),
                          [](const Entry& a, const Entry& b) { return KeyOf(a) == KeyOf(b); }),
              list->end());
}

}  // namespace

void Canonicalize(TransactionHeader* header) {
  CanonicalizeList(&header->waits_for,
                   [](const OriginLsn& a, const OriginLsn& b) { return a.lsn > b.lsn; });
  CanonicalizeList(&header->seen,
                   [](const SeenUntil& a, const SeenUntil& b) { return a.time_us < b.time_us; });
}

std::string EncodeHeader(const TransactionHeader& header, const TransactionHeader& before) {
  std::string body;
  AppendVarint(&body, EncodeDifference(header.end_lsn.value, before.end_lsn.value));
  AppendVarint(&body, EncodeDifference(static_cast<uint64_t>(header.stamp.time_us),
                                       static_cast<uint64_t>(before.stamp.time_us)));
  AppendList(header.waits_for, before.waits_for, &body);
  AppendList(header.seen, before.seen, &body);
  if (header.settings_version != before.settings_version) {
    AppendVarint(&body, EncodeDifference(header.settings_version, before.settings_version));
  }
  return body;
}

absl::Status DecodeHeader(absl::string_view body, NodeId stamp_node, TransactionHeader* header) {
  uint64_t end_lsn = 0;
  uint64_t time = 0;
  if (!TakeVarint(&body, &end_lsn) || !TakeVarint(&body, &time) ||
      !TakeList(&body, &header->waits_for) || !TakeList(&body, &header->seen)) {
    return absl::DataLossError("malformed transaction header in a block");
  }
  if (!body.empty()) {
    uint64_t settings = 0;
    if (!TakeVarint(&body, &settings) || !body.empty()) {
      return absl::DataLossError("malformed transaction header in a block");
    }
    header->settings_version = DecodeDifference(settings, header->settings_version);
  }
  header->end_lsn.value = DecodeDifference(end_lsn, header->end_lsn.value);
  header->stamp.time_us =
      static_cast<int64_t>(DecodeDifference(time, static_cast<uint64_t>(header->stamp.time_us)));
  header->stamp.node = stamp_node;
  return absl::OkStatus();
}

}  // namespace bdr::agent
