// A schema as it travels and is kept: compressed, with a hash that names it.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace bdr::v1 {
class Schema;
}

namespace bdr::postgres {

struct PackedSchema {
  std::string hash;  // of `bytes`
  std::string bytes;
};

// Equal schemas give the same.
PackedSchema PackSchema(const v1::Schema& schema);
// kDataLoss if the bytes are none of PackSchema()'s.
absl::Status UnpackSchema(absl::string_view bytes, v1::Schema* schema);

}  // namespace bdr::postgres
