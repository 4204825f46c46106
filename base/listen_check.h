// Whether a port is free, said in a way that tells which one and what to do: asked before anything
// is made that would have to be cleared away again.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace bdr {

// Whether a server could listen on `address` ("host:port"), which stands under `key` in the
// configuration. Nothing is kept: somebody else may take the port right after. kUnavailable, with
// address, key and cause, if the port is in use or the host is not this machine's.
absl::Status CheckCanListen(absl::string_view key, const std::string& address);

}  // namespace bdr
