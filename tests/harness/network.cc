#include "tests/harness/network.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "tests/harness/process.h"

namespace bdr::harness {
namespace {

constexpr char kSwitch[] = "bdr-switch";
constexpr char kDevice[] = "eth0";  // of a node

int OpenNamespace() { return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC); }

absl::Status RaiseLoopback() {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  const int result = ioctl(fd, SIOCSIFFLAGS, &request);
  const int error = errno;
  close(fd);
  return result == 0 ? absl::OkStatus()
                     : absl::ErrnoToStatus(error, "cannot raise the loopback device");
}

// Runs commands of `ip`, all or up to the first that fails; in a namespace, or where we are.
absl::Status Ip(const std::vector<std::string>& commands, int namespace_fd = -1) {
  const std::string input = absl::StrCat(absl::StrJoin(commands, "\n"), "\n");
  ASSIGN_OR_RETURN(const ProgramResult result, RunProgram({.argv = {"/sbin/ip", "-batch", "-"},
                                                           .network_namespace = namespace_fd},
                                                          absl::Seconds(30), input));
  if (result.exit_code == 0) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("ip failed: ", result.err, result.out, "it was given:\n", input));
}

// A namespace lives as long as a descriptor of it is open.
absl::StatusOr<int> NewNamespace() {
  int fd = -1;
  int error = 0;
  std::thread([&] {
    if (unshare(CLONE_NEWNET) == 0) fd = OpenNamespace();
    error = errno;
  }).join();
  if (fd < 0) return absl::ErrnoToStatus(error, "cannot make a network namespace");
  return fd;
}

}  // namespace

absl::Status LeaveNetwork() {
  const int before = OpenNamespace();
  if (unshare(CLONE_NEWNET) != 0) {
    const int error = errno;
    close(before);
    return absl::PermissionDeniedError(
        absl::StrCat("no network namespace can be made: ", std::strerror(error)));
  }
  const absl::Status raised = RaiseLoopback();
  if (!raised.ok() && setns(before, CLONE_NEWNET) != 0) std::abort();  // Neither here nor there.
  close(before);
  return raised;
}

absl::StatusOr<std::unique_ptr<Network>> Network::Create(const std::vector<std::string>& nodes) {
  std::unique_ptr<Network> network(new Network);
  RETURN_IF_ERROR(Ip({absl::StrCat("link add ", kSwitch, " type bridge"),
                      absl::StrCat("address add ", kSwitchAddress, "/24 dev ", kSwitch),
                      absl::StrCat("link set ", kSwitch, " up")}));
  for (const std::string& node : nodes) RETURN_IF_ERROR(network->Add(node));
  return network;
}

Network::~Network() {
  for (const auto& [name, machine] : machines_) close(machine.namespace_fd);
  // The switch's ports go with the other ends of their cables, once no process is left there.
  Ip({absl::StrCat("link delete ", kSwitch)}).IgnoreError();
}

absl::Status Network::Add(const std::string& node) {
  Machine& machine = machines_[node];
  machine.address = absl::StrCat("10.231.0.", 10 + machines_.size());
  machine.port = absl::StrCat("port-", machine.address.substr(9));
  ASSIGN_OR_RETURN(machine.namespace_fd, NewNamespace());
  const std::string there = absl::StrCat("/proc/", getpid(), "/fd/", machine.namespace_fd);
  RETURN_IF_ERROR(Ip(
      {absl::StrCat("link add ", machine.port, " type veth peer name ", kDevice, " netns ", there),
       absl::StrCat("link set ", machine.port, " master ", kSwitch),
       absl::StrCat("link set ", machine.port, " up")}));
  return Ip({"link set lo up", absl::StrCat("address add ", machine.address, "/24 dev ", kDevice),
             absl::StrCat("link set ", kDevice, " up")},
            machine.namespace_fd);
}

const Network::Machine& Network::Find(absl::string_view node) const {
  const auto found = machines_.find(node);
  if (found != machines_.end()) return found->second;
  std::cerr << "there is no node \"" << node << "\" in this network" << std::endl;
  std::abort();  // A slip of the pen in a test.
}

absl::Status Network::Drop(absl::string_view from, absl::string_view to) {
  Machine& machine = machines_.find(from)->second;
  const std::string& address = Find(to).address;
  RETURN_IF_ERROR(Ip({absl::StrCat("route replace blackhole ", address)}, machine.namespace_fd));
  machine.dropped.push_back(address);
  return absl::OkStatus();
}

absl::Status Network::Unplug(absl::string_view node) {
  Machine& machine = machines_.find(node)->second;
  machine.unplugged = true;
  return Ip({absl::StrCat("link set ", machine.port, " down")});
}

absl::Status Network::Heal() {
  for (auto& [name, machine] : machines_) {
    std::vector<std::string> commands;
    for (const std::string& address : machine.dropped) {
      commands.push_back(absl::StrCat("route delete blackhole ", address));
    }
    if (!commands.empty()) RETURN_IF_ERROR(Ip(commands, machine.namespace_fd));
    machine.dropped.clear();
    if (!machine.unplugged) continue;
    RETURN_IF_ERROR(Ip({absl::StrCat("link set ", machine.port, " up")}));
    machine.unplugged = false;
  }
  return absl::OkStatus();
}

}  // namespace bdr::harness
