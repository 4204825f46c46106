// TCP ports on loopback that no other test takes meanwhile.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bdr::harness {

// 127.0.0.1:port
sockaddr_in Loopback(int port);

// A port of 127.0.0.1 that nobody listens on, reserved against other tests until this process
// ends. Below the range that the kernel gives to outgoing connections. kResourceExhausted if there
// is none.
absl::StatusOr<int> FreePort();

// kUnavailable if somebody listens on the port.
absl::Status CheckPortFree(int port);

// Whether somebody listens on 127.0.0.1:port now.
bool CanConnect(int port);

}  // namespace bdr::harness
