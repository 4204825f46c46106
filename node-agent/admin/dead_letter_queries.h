// What an administrator asks of bdr.dead_letter.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "postgres/connection.h"

namespace bdr::v1 {
class ListDeadLettersResponse;
}

namespace bdr::agent {

absl::Status ListDeadLetters(postgres::Connection& connection,
                             v1::ListDeadLettersResponse* response);

// kNotFound if there is none.
absl::Status DropDeadLetter(postgres::Connection& connection, int64_t id);

}  // namespace bdr::agent
