// How two processes know each other: by certificates, or, on one machine, not at all.
#pragma once

#include <string>

namespace bdr {

// Either `insecure`, which is for loopback addresses only, or all three files (PEM): then both
// sides show a certificate, and trust what `ca` has signed.
struct SecurityOptions {
  bool insecure = false;
  std::string certificate = "";
  std::string key = "";
  std::string ca = "";
};

}  // namespace bdr
