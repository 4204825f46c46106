// Reads the drawing of a state machine out of a header's comment, so that a test can hold it and
// the enum together. Only tests include this.
//
// A move stands on a line of its own in a comment, with three spaces or more before it:
//   //   connecting -> streaming -> paused: the log is full
//   //   streaming, paused -> stopped: the agent is shutting down
// What follows the colon says when; a comma makes one line of several moves. Labels on an arrow
// (`--failure-->`) and moves both ways (`<->`) are read as well. Lines of other forms draw nothing.
#pragma once

#include <fstream>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace bdr {

struct DrawnMoves {
  std::set<std::string> states;
  std::set<std::pair<std::string, std::string>> moves;  // from, to
};

// Empty if the file cannot be read: a test that compares then fails.
inline DrawnMoves ReadDrawnMoves(const std::string& path) {
  static const std::regex drawing(R"(^//   +([\w, ]+?)\s*(<?-.*)$)");
  static const std::regex move(R"(^\s*(<?)-+(?:[^<>-][^<>]*?-+)?>\s*(\w+(?:\s*,\s*\w+)*)(.*)$)");
  static const std::regex word(R"(\w+)");
  const auto words = [](const std::string& list) {
    return std::vector<std::string>(std::sregex_token_iterator(list.begin(), list.end(), word),
                                    std::sregex_token_iterator());
  };
  DrawnMoves drawn;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::smatch match;
    if (!std::regex_match(line, match, drawing)) continue;
    std::vector<std::string> from = words(match[1]);
    std::string rest = match[2];
    while (std::regex_match(rest, match, move)) {
      const bool both_ways = match[1].length() > 0;
      std::vector<std::string> to = words(match[2]);
      for (const std::string& a : from) {
        for (const std::string& b : to) {
          drawn.states.insert({a, b});
          drawn.moves.insert({a, b});
          if (both_ways) drawn.moves.insert({b, a});
        }
      }
      from = std::move(to);
      rest = std::string(match[3]);
    }
  }
  return drawn;
}

inline std::set<std::string> DrawnStates(const std::string& path) {
  return ReadDrawnMoves(path).states;
}

// What ToString() calls the values of an enum that counts up from 0. The compiler sees to it that
// ToString() names each; what it says of a number that is none is where they end.
template <typename State>
std::set<std::string> NamesOfStates() {
  std::set<std::string> names;
  for (int i = 0;; ++i) {
    const std::string name = ToString(static_cast<State>(i));
    if (name.empty() || name == "unknown") return names;
    names.insert(name);
  }
}

}  // namespace bdr
