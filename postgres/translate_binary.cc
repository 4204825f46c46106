// Values in binary form that carry OIDs of types: arrays, composites, and what is made of them.
//
// An OID takes four bytes on every server, so most values keep their length. Composites may grow:
// one that was made before its type got another attribute has fewer of them.
#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "postgres/builtin_types.h"
#include "postgres/catalog.h"
#include "postgres/range_flags.h"
#include "postgres/type_names.h"
#include "postgres/wire.h"

namespace bdr::postgres {
namespace {

constexpr int32_t kDimensionsMax = 6;  // MAXDIM in PostgreSQL

absl::Status Malformed(const TypeInfo& type, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("a value of type ", TypeNameForPeople(type), " ", why,
                   "; does the type have the same definition on both nodes?"));
}

// Reads a value from the front to its end and writes what it is here.
class Translator {
 public:
  explicit Translator(size_t size_hint) { out_.reserve(size_hint); }

  absl::Status Add(const TypeInfo& type, absl::string_view value) {
    if (!type.carries_user_oids()) {
      out_.append(value.data(), value.size());
      return absl::OkStatus();
    }
    switch (type.kind) {
      case TypeInfo::Kind::kArray:
        return AddArray(type, value);
      case TypeInfo::Kind::kComposite:
        return AddComposite(type, value);
      case TypeInfo::Kind::kRange:
        return AddRange(type, value);
      case TypeInfo::Kind::kMultirange:
        return AddMultirange(type, value);
      default:
        out_.append(value.data(), value.size());
        return absl::OkStatus();
    }
  }

  std::string Take() { return std::move(out_); }

 private:
  absl::Status AddArray(const TypeInfo& type, absl::string_view value) {
    WireReader reader(value);
    const int32_t dimensions = reader.Int32();
    AppendNumber(&out_, dimensions);
    AppendNumber(&out_, reader.Int32());  // flags: whether there are NULLs
    RETURN_IF_ERROR(AddOid(type, *type.element, &reader));
    if (dimensions < 0 || dimensions > kDimensionsMax) {
      return Malformed(type, absl::StrCat("claims ", dimensions, " dimensions"));
    }
    uint64_t count = dimensions == 0 ? 0 : 1;
    for (int32_t i = 0; i < dimensions; ++i) {
      const int32_t extent = reader.Int32();
      AppendNumber(&out_, extent);
      AppendNumber(&out_, reader.Int32());  // lower bound
      // Every element takes at least the four bytes of its length.
      if (extent < 0 || (extent > 0 && count > value.size() / static_cast<uint64_t>(extent))) {
        return Malformed(type, "claims more elements than fit");
      }
      count *= static_cast<uint64_t>(extent);
    }
    for (uint64_t i = 0; i < count; ++i) {
      RETURN_IF_ERROR(AddPart(type, *type.element, &reader));
    }
    return Finished(type, reader);
  }

  absl::Status AddComposite(const TypeInfo& type, absl::string_view value) {
    WireReader reader(value);
    const uint32_t count = reader.Uint32();
    if (!reader.ok()) return Malformed(type, "is cut off");
    if (count > type.fields.size() || count < type.first_fields) {
      return absl::FailedPreconditionError(absl::StrCat(
          "a value of type ", TypeNameForPeople(type), " has ", count,
          " attributes, but the type here has ", type.fields.size(),
          "; give the type the same attributes on every node (ALTER TYPE ... ADD ATTRIBUTE)"));
    }
    AppendNumber(&out_, static_cast<uint32_t>(type.fields.size()));
    for (uint32_t i = 0; i < count; ++i) {
      RETURN_IF_ERROR(AddOid(type, *type.fields[i], &reader));
      RETURN_IF_ERROR(AddPart(type, *type.fields[i], &reader));
    }
    for (size_t i = count; i < type.fields.size(); ++i) {
      AppendNumber(&out_, type.fields[i]->oid);
      AppendNumber(&out_, kNullLength);
    }
    return Finished(type, reader);
  }

  absl::Status AddRange(const TypeInfo& type, absl::string_view value) {
    WireReader reader(value);
    const uint8_t flags = reader.Uint8();
    AppendNumber(&out_, flags);
    if (range::HasLower(flags)) RETURN_IF_ERROR(AddPart(type, *type.element, &reader));
    if (range::HasUpper(flags)) RETURN_IF_ERROR(AddPart(type, *type.element, &reader));
    return Finished(type, reader);
  }

  absl::Status AddMultirange(const TypeInfo& type, absl::string_view value) {
    WireReader reader(value);
    const uint32_t count = reader.Uint32();
    AppendNumber(&out_, count);
    for (uint32_t i = 0; i < count && reader.ok(); ++i) {
      RETURN_IF_ERROR(AddPart(type, *type.element, &reader));
    }
    return Finished(type, reader);
  }

  // A length (-1 for NULL) and that many bytes.
  absl::Status AddPart(const TypeInfo& whole, const TypeInfo& part, WireReader* reader) {
    const int32_t length = reader->Int32();
    if (length == -1 && reader->ok()) {
      AppendNumber(&out_, kNullLength);
      return absl::OkStatus();
    }
    if (length < 0) return Malformed(whole, "has a part of negative length");
    const absl::string_view bytes = reader->Bytes(static_cast<size_t>(length));
    if (!reader->ok()) return Malformed(whole, "is cut off");
    const size_t length_at = out_.size();
    AppendNumber(&out_, length);
    RETURN_IF_ERROR(Add(part, bytes));
    const size_t added = out_.size() - length_at - sizeof(length);
    for (size_t i = 0; i < sizeof(length); ++i) {
      out_[length_at + i] = static_cast<char>(added >> (24 - 8 * i));
    }
    return absl::OkStatus();
  }

  // The OID of a part's type. Where either side is built in, both must be the same type.
  absl::Status AddOid(const TypeInfo& whole, const TypeInfo& part, WireReader* reader) {
    const uint32_t there = reader->Uint32();
    if (!reader->ok()) return Malformed(whole, "is cut off");
    const bool stable = std::min(there, part.oid) < builtin::kFirstUnstableOid;
    if (stable && there != part.oid) {
      return Malformed(whole, absl::StrCat("has a part of type ", TypeNameForPeople(there, "", ""),
                                           ", where the type here has ", TypeNameForPeople(part)));
    }
    AppendNumber(&out_, part.oid);
    return absl::OkStatus();
  }

  static absl::Status Finished(const TypeInfo& type, const WireReader& reader) {
    if (!reader.ok()) return Malformed(type, "is cut off");
    if (!reader.done()) return Malformed(type, "has bytes too many");
    return absl::OkStatus();
  }

  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> TranslateBinary(const TypeInfo& local_type, absl::string_view value) {
  Translator translator(value.size());
  RETURN_IF_ERROR(translator.Add(local_type, value));
  return translator.Take();
}

}  // namespace bdr::postgres
