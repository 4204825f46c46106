#include "seqam/registry.h"

#include "seqam/galloc/galloc.h"
#include "seqam/gapless/gapless.h"
#include "seqam/local/local.h"
#include "seqam/snowflake/snowflake.h"
#include "seqam/stepped/stepped.h"

namespace bdr::seqam {

absl::Span<const Method* const> Methods() {
  static const Method* const kMethods[] = {Local(),         Stepped(), Snowflake(),
                                           SteppedBlocks(), Galloc(),  Gapless()};
  return kMethods;
}

const Method* FindMethod(absl::string_view name) {
  for (const Method* method : Methods()) {
    if (method->name() == name) return method;
  }
  return nullptr;
}

}  // namespace bdr::seqam
