// Every sequence access method there is.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "seqam/method.h"

namespace bdr::seqam {

absl::Span<const Method* const> Methods();

// nullptr if there is none of this name.
const Method* FindMethod(absl::string_view name);

}  // namespace bdr::seqam
