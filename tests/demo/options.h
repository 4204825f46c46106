// What a person asks of bdr-demo.
#pragma once

#include <string>

namespace bdr::demo {

struct Options {
  std::string folder;  // everything of the demo lies in it
  int nodes = 3;
  int seconds = 15;
  int clients = 4;  // of pgbench, on each node
  int scale = 10;   // of pgbench's tables: 100,000 accounts each
  int first_port = 17400;
  std::string policy = "";  // "delta": balances are counted, not overwritten
  bool keep = false;        // `stop` leaves the folder
};

}  // namespace bdr::demo
