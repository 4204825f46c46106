// The nodes that verify compares, asked all at once. Included by .cc files only.
#pragma once

#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "ctl/rpc.h"

namespace bdr::ctl {

struct VerifyNode {
  std::string name;
  uint32_t id = 0;
  Agent agent;
};

// Calls `ask` for every node at the same time; answers in the order of the nodes. The first error
// if there is one.
template <typename T>
absl::StatusOr<std::vector<T>> AskAll(const std::vector<VerifyNode>& nodes,
                                      const std::function<absl::StatusOr<T>(const Agent&)>& ask) {
  std::vector<absl::StatusOr<T>> answers(nodes.size(), absl::UnknownError("not asked"));
  std::vector<std::thread> threads;
  for (size_t i = 1; i < nodes.size(); ++i) {
    threads.emplace_back([&, i] { answers[i] = ask(nodes[i].agent); });
  }
  if (!nodes.empty()) answers[0] = ask(nodes[0].agent);
  for (std::thread& thread : threads) thread.join();
  std::vector<T> values;
  for (absl::StatusOr<T>& answer : answers) {
    RETURN_IF_ERROR(answer.status());
    values.push_back(*std::move(answer));
  }
  return values;
}

}  // namespace bdr::ctl
