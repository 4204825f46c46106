#include "tests/docs/tree.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace bdr::docs {

std::vector<std::string> FilesOfTheTree() {
  const std::filesystem::path root = BDR_SOURCE_DIR;
  std::vector<std::string> files;
  for (auto it = std::filesystem::recursive_directory_iterator(root);
       it != std::filesystem::recursive_directory_iterator(); ++it) {
    const std::string name = it->path().filename();
    const bool hidden = name.starts_with(".") && name != ".ci";
    if (hidden || (it.depth() == 0 && name == "build")) {
      it.disable_recursion_pending();
      continue;
    }
    if (it->is_regular_file()) files.push_back(std::filesystem::relative(it->path(), root));
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string ReadFile(const std::string& path) {
  std::stringstream read;
  read << std::ifstream(std::filesystem::path(BDR_SOURCE_DIR) / path).rdbuf();
  return read.str();
}

}  // namespace bdr::docs
