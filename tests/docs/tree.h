// The source tree as the tests of the documents read it.
#pragma once

#include <string>
#include <vector>

namespace bdr::docs {

// Every file below the root, as a path from there; neither what is built nor what is hidden.
std::vector<std::string> FilesOfTheTree();

// The text of a file, by its path from the root; "" if there is none.
std::string ReadFile(const std::string& path);

}  // namespace bdr::docs
