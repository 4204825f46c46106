// Which folder may know which: inclusion runs downward, and no two folders know each other.
//
// A folder that knows the one that is built on it cannot be read, tested or moved without it, and
// the compiler says nothing of that. A pure function over texts, so that a test can show that it
// finds what it is to find.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace bdr::docs {

struct SourceFile {
  std::string path;  // from the root of the tree
  std::string text;
};

// Of a folder ("" is the root of the tree): those in it, from the ground up. What lies in the
// folder itself stands above them all. Folders without an entry have no order, but no circle
// either.
using Layout = std::map<std::string, std::vector<std::string>>;

// The arguments of add_subdirectory() in a CMakeLists.txt, in their order.
std::vector<std::string> SubdirectoriesOf(const std::string& cmake);

// One line for each include that must not be, naming both files and what to do; empty if all is
// well. Files of tests (IsTest) may include anything.
std::vector<std::string> WrongIncludes(const std::vector<SourceFile>& files, const Layout& layout);

// Headers, other than those of tests, that include gRPC or generated messages: whoever includes one
// of them compiles these again.
std::vector<std::string> HeadersWithMessages(const std::vector<SourceFile>& files);

// By its name: a test, what only tests include, or a fuzzer's tools.
bool IsTest(const std::string& path);

}  // namespace bdr::docs
