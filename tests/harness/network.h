// A network of its own for each node, as between machines: network namespaces, joined by a switch.
//
// Other than behind the TCP proxy a broken link shows here as it does in the field: packets vanish
// and the kernel repeats them, nobody is told, and a machine without its cable has lost the control
// plane as well.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bdr::harness {

// Gives this process a network of its own, with nothing in it but a loopback device: to be called
// before it starts a thread. kPermissionDenied where that is not allowed; nothing has changed then.
absl::Status LeaveNetwork();

// Not thread-safe.
class Network {
 public:
  // After LeaveNetwork(): where this process is stands the switch, at kSwitchAddress. Needs the
  // program `ip`.
  static absl::StatusOr<std::unique_ptr<Network>> Create(const std::vector<std::string>& nodes);
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  static constexpr absl::string_view kSwitchAddress = "10.231.0.1";
  const std::string& address(absl::string_view node) const { return Find(node).address; }
  // For ProcessOptions; valid as long as this lives.
  int namespace_fd(absl::string_view node) const { return Find(node).namespace_fd; }

  // What `from` sends to `to` vanishes, until Heal().
  absl::Status Drop(absl::string_view from, absl::string_view to);
  // Its cable is out, until Heal().
  absl::Status Unplug(absl::string_view node);
  absl::Status Heal();

 private:
  struct Machine {
    std::string address;
    std::string port;  // of the switch: a device's name
    int namespace_fd = -1;
    bool unplugged = false;
    std::vector<std::string> dropped;  // addresses
  };
  Network() = default;
  absl::Status Add(const std::string& node);
  const Machine& Find(absl::string_view node) const;

  std::map<std::string, Machine, std::less<>> machines_;
};

}  // namespace bdr::harness
