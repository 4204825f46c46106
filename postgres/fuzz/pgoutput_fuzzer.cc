// Fuzzes what reads bytes of another server: the pgoutput decoder, and the binary forms of values.
//
// The first byte of an input chooses what reads the rest: 0 and 1 Decode() outside and inside of a
// streamed block, 2 TranslateBinary(), 3 CanonicalKeyValue() of the type chosen by the second byte.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "postgres/builtin_types.h"
#include "postgres/catalog.h"
#include "postgres/pgoutput.h"

namespace bdr::postgres {
namespace {

// Stays on in every build: libFuzzer reports the abort with the input.
void Require(bool holds) {
  if (!holds) std::abort();
}

uint32_t RelationOf(const Message& message) {
  if (const auto* m = std::get_if<InsertMessage>(&message)) return m->relation_oid;
  if (const auto* m = std::get_if<UpdateMessage>(&message)) return m->relation_oid;
  if (const auto* m = std::get_if<DeleteMessage>(&message)) return m->relation_oid;
  return 0;
}

void FuzzDecode(absl::string_view input, bool in_stream) {
  const uint32_t peeked = PeekRelationOid(input, {.in_stream = in_stream});
  const absl::StatusOr<Message> message = Decode(input, {.in_stream = in_stream});
  if (!message.ok()) {
    Require(message.status().code() == absl::StatusCode::kInvalidArgument);
    return;
  }
  Require(peeked == RelationOf(*message));
  if (const auto* relation = std::get_if<RelationMessage>(&*message)) {
    const std::string encoded = Encode(*relation);
    const absl::StatusOr<Message> again = Decode(encoded);
    Require(again.ok() && Encode(std::get<RelationMessage>(*again)) == encoded);
  }
  if (const auto* type = std::get_if<TypeMessage>(&*message)) {
    Require(Decode(Encode(*type)).ok());
  }
}

std::shared_ptr<TypeInfo> Make(TypeInfo::Kind kind, uint32_t oid) {
  auto type = std::make_shared<TypeInfo>();
  type->oid = type->base_oid = oid;
  type->schema = "app";
  type->name = "t";
  type->kind = kind;
  return type;
}

// An array of (int4, enum, enum[], multirange of such composites without the multirange).
std::shared_ptr<const TypeInfo> NestedType() {
  const auto mood = Make(TypeInfo::Kind::kEnum, 20001);
  const auto moods = Make(TypeInfo::Kind::kArray, 20002);
  moods->element = mood;
  const auto inner = Make(TypeInfo::Kind::kComposite, 20003);
  inner->fields = {Make(TypeInfo::Kind::kPlain, builtin::kInt4), mood, moods};
  inner->first_fields = inner->fields.size();
  const auto range = Make(TypeInfo::Kind::kRange, 20004);
  range->element = inner;
  const auto multirange = Make(TypeInfo::Kind::kMultirange, 20005);
  multirange->element = range;
  const auto outer = Make(TypeInfo::Kind::kComposite, 20006);
  outer->fields = {inner, multirange};
  outer->first_fields = outer->fields.size();
  const auto array = Make(TypeInfo::Kind::kArray, 20007);
  array->element = outer;
  return array;
}

void FuzzTranslate(absl::string_view input) {
  static const std::shared_ptr<const TypeInfo> type = NestedType();
  const absl::StatusOr<std::string> once = TranslateBinary(*type, input);
  if (!once.ok()) return;
  Require(once->size() == input.size());
  const absl::StatusOr<std::string> twice = TranslateBinary(*type, *once);
  Require(twice.ok() && *twice == *once);
}

void FuzzCanonical(absl::string_view input) {
  static constexpr uint32_t kTypes[] = {builtin::kBool,     builtin::kFloat4, builtin::kFloat8,
                                        builtin::kNumeric,  builtin::kInet,   builtin::kVarbit,
                                        builtin::kBpchar,   builtin::kText,   builtin::kInt8,
                                        builtin::kInterval, builtin::kUuid,   builtin::kJsonb};
  static const std::shared_ptr<const TypeInfo> nested = NestedType();
  if (input.empty()) return;
  TypeInfo type;
  const size_t choice = static_cast<uint8_t>(input[0]) % (std::size(kTypes) + 1);
  if (choice < std::size(kTypes)) type.oid = type.base_oid = kTypes[choice];
  const absl::StatusOr<std::string> canonical =
      CanonicalKeyValue(choice < std::size(kTypes) ? type : *nested, input.substr(1));
  Require(canonical.ok() || canonical.status().code() == absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace bdr::postgres

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
    case 1:
      bdr::postgres::FuzzDecode(rest, data[0] % 4 == 1);
      break;
    case 2:
      bdr::postgres::FuzzTranslate(rest);
      break;
    default:
      bdr::postgres::FuzzCanonical(rest);
  }
  return 0;
}
