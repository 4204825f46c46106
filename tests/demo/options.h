// What a person asks of bdr-demo.
#pragma once

#include <string>

namespace bdr::demo {

inline constexpr int kDemoServersOnEtcd = 2;
inline constexpr int kLeastSecondsOnEtcd = 10;

struct Options {
  std::string folder;  // everything of the demo lies in it
  int nodes = 3;
  int seconds = 15;
  int clients = 4;  // of pgbench, on each node
  int scale = 10;   // of pgbench's tables: 100,000 accounts each
  int first_port = 17400;
  std::string policy = "";  // "delta": balances are counted, not overwritten
  bool etcd = false;        // bdr-servers on etcd, and some of both are killed meanwhile
  bool keep = false;        // `stop` leaves the folder
};

}  // namespace bdr::demo
