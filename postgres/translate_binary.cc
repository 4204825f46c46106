// Values in binary form that carry OIDs of types: arrays, composites, and what is made of them.
//
// An OID takes four bytes on every server, so the value keeps its length and layout: it is copied
// once and patched in place.
#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "postgres/builtin_types.h"
#include "postgres/catalog.h"
#include "postgres/type_names.h"
#include "postgres/wire.h"

namespace bdr::postgres {
namespace {

constexpr int32_t kDimensionsMax = 6;  // MAXDIM in PostgreSQL

// Flags of a range (utils/rangetypes.h).
constexpr uint8_t kRangeEmpty = 0x01;
constexpr uint8_t kRangeLowerInfinite = 0x08;
constexpr uint8_t kRangeUpperInfinite = 0x10;
constexpr uint8_t kRangeLowerNull = 0x20;
constexpr uint8_t kRangeUpperNull = 0x40;

absl::Status Malformed(const TypeInfo& type, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("a value of type ", TypeNameForPeople(type), " ", why,
                   "; does the type have the same definition on both nodes?"));
}

class Translator {
 public:
  explicit Translator(absl::string_view value) : value_(value), out_(value) {}

  // Patches what `value_` has at [offset, offset + size).
  absl::Status Patch(const TypeInfo& type, size_t offset, size_t size) {
    if (!type.carries_user_oids()) return absl::OkStatus();
    switch (type.kind) {
      case TypeInfo::Kind::kArray:
        return PatchArray(type, offset, size);
      case TypeInfo::Kind::kComposite:
        return PatchComposite(type, offset, size);
      case TypeInfo::Kind::kRange:
        return PatchRange(type, offset, size);
      case TypeInfo::Kind::kMultirange:
        return PatchMultirange(type, offset, size);
      default:
        return absl::OkStatus();
    }
  }

  std::string Take() { return std::move(out_); }

 private:
  absl::Status PatchArray(const TypeInfo& type, size_t offset, size_t size) {
    WireReader reader(value_.substr(offset, size));
    const int32_t dimensions = reader.Int32();
    reader.Int32();  // flags: whether there are NULLs
    RETURN_IF_ERROR(PatchOid(type, *type.element, &reader, offset));
    if (dimensions < 0 || dimensions > kDimensionsMax) {
      return Malformed(type, absl::StrCat("claims ", dimensions, " dimensions"));
    }
    uint64_t count = dimensions == 0 ? 0 : 1;
    for (int32_t i = 0; i < dimensions; ++i) {
      const int32_t extent = reader.Int32();
      reader.Int32();  // lower bound
      // Every element takes at least the four bytes of its length.
      if (extent < 0 || (extent > 0 && count > size / static_cast<uint64_t>(extent))) {
        return Malformed(type, "claims more elements than fit");
      }
      count *= static_cast<uint64_t>(extent);
    }
    for (uint64_t i = 0; i < count; ++i) {
      RETURN_IF_ERROR(PatchPart(type, *type.element, &reader, offset));
    }
    return Finished(type, reader);
  }

  absl::Status PatchComposite(const TypeInfo& type, size_t offset, size_t size) {
    WireReader reader(value_.substr(offset, size));
    const uint32_t count = reader.Uint32();
    if (count != type.fields.size()) {
      return Malformed(
          type, absl::StrCat("has ", count, " fields, but the type here has ", type.fields.size()));
    }
    for (const auto& field : type.fields) {
      RETURN_IF_ERROR(PatchOid(type, *field, &reader, offset));
      RETURN_IF_ERROR(PatchPart(type, *field, &reader, offset));
    }
    return Finished(type, reader);
  }

  absl::Status PatchRange(const TypeInfo& type, size_t offset, size_t size) {
    WireReader reader(value_.substr(offset, size));
    const uint8_t flags = reader.Uint8();
    const bool empty = (flags & kRangeEmpty) != 0;
    if (!empty && (flags & (kRangeLowerInfinite | kRangeLowerNull)) == 0) {
      RETURN_IF_ERROR(PatchPart(type, *type.element, &reader, offset));
    }
    if (!empty && (flags & (kRangeUpperInfinite | kRangeUpperNull)) == 0) {
      RETURN_IF_ERROR(PatchPart(type, *type.element, &reader, offset));
    }
    return Finished(type, reader);
  }

  absl::Status PatchMultirange(const TypeInfo& type, size_t offset, size_t size) {
    WireReader reader(value_.substr(offset, size));
    const uint32_t count = reader.Uint32();
    for (uint32_t i = 0; i < count && reader.ok(); ++i) {
      RETURN_IF_ERROR(PatchPart(type, *type.element, &reader, offset));
    }
    return Finished(type, reader);
  }

  // A length (-1 for NULL) and that many bytes.
  absl::Status PatchPart(const TypeInfo& whole, const TypeInfo& part, WireReader* reader,
                         size_t offset) {
    const int32_t length = reader->Int32();
    if (length == -1 && reader->ok()) return absl::OkStatus();
    if (length < 0) return Malformed(whole, "has a part of negative length");
    const size_t start = offset + reader->offset();
    reader->Bytes(static_cast<size_t>(length));
    if (!reader->ok()) return Malformed(whole, "is cut off");
    return Patch(part, start, static_cast<size_t>(length));
  }

  // The OID of a part's type. Where either side is built in, both must be the same type.
  absl::Status PatchOid(const TypeInfo& whole, const TypeInfo& part, WireReader* reader,
                        size_t offset) {
    const size_t at = offset + reader->offset();
    const uint32_t there = reader->Uint32();
    if (!reader->ok()) return Malformed(whole, "is cut off");
    const bool stable = std::min(there, part.oid) < builtin::kFirstUnstableOid;
    if (stable && there != part.oid) {
      return Malformed(whole, absl::StrCat("has a part of type ", TypeNameForPeople(there, "", ""),
                                           ", where the type here has ", TypeNameForPeople(part)));
    }
    std::string bytes;
    AppendNumber<uint32_t>(&bytes, part.oid);
    out_.replace(at, bytes.size(), bytes);
    return absl::OkStatus();
  }

  static absl::Status Finished(const TypeInfo& type, const WireReader& reader) {
    if (!reader.ok()) return Malformed(type, "is cut off");
    if (!reader.done()) return Malformed(type, "has bytes too many");
    return absl::OkStatus();
  }

  const absl::string_view value_;
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> TranslateBinary(const TypeInfo& local_type, absl::string_view value) {
  Translator translator(value);
  RETURN_IF_ERROR(translator.Patch(local_type, 0, value.size()));
  return translator.Take();
}

}  // namespace bdr::postgres
