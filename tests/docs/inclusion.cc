#include "tests/docs/inclusion.h"

#include <algorithm>
#include <cstddef>
#include <regex>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace bdr::docs {
namespace {

// The registry names every method of sequences, and each of them the interface beside it: this one
// file stands above the folders of its own folder, as nothing else in it does.
constexpr absl::string_view kAboveItsFolder[] = {"seqam/registry.cc"};

struct Include {
  std::string from;
  std::string to;
};

std::string FolderOf(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return std::string(slash == absl::string_view::npos ? "" : path.substr(0, slash));
}

// What stands between the quotes or brackets of each #include.
std::vector<std::string> IncludedBy(absl::string_view text) {
  std::vector<std::string> included;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, "#include ") || line.empty()) continue;
    const size_t end = line.find(line.front() == '<' ? '>' : '"', 1);
    if (end != absl::string_view::npos) included.emplace_back(line.substr(1, end - 1));
  }
  return included;
}

// Where generated code comes from.
std::string SourceOf(const std::string& included) {
  const bool generated = absl::StartsWith(included, "bdr/") || absl::StartsWith(included, "etcd/");
  return generated ? absl::StrCat("proto/", included) : included;
}

// "" if the include is as it should be.
std::string WrongAgainst(const Layout& layout, const Include& include) {
  const std::vector<std::string> from = absl::StrSplit(include.from, '/');
  const std::vector<std::string> to = absl::StrSplit(include.to, '/');
  std::string folder;
  for (size_t depth = 0; depth + 1 < from.size(); ++depth) {
    const auto order = layout.find(folder);
    // The last part is the file's own name: it lies in the folder itself, above all folders in it.
    const bool same = depth + 1 < to.size() && from[depth] == to[depth];
    if (order != layout.end() && !same) {
      const auto begin = order->second.begin();
      const auto end = order->second.end();
      const auto mine = std::find(begin, end, from[depth]);
      const auto other = depth + 1 < to.size() ? std::find(begin, end, to[depth]) : end;
      if (mine < other) {
        return absl::StrCat(include.from, " includes ", include.to, ", which stands above it in ",
                            folder.empty() ? "the tree" : folder, " (",
                            absl::StrJoin(order->second, " "),
                            "): move what both need further down");
      }
      return "";
    }
    if (!same) return "";
    absl::StrAppend(&folder, folder.empty() ? "" : "/", from[depth]);
  }
  return "";
}

// Every folder in which a file lies has to have its place, or nobody knows what may include it.
void FindUnordered(const std::vector<SourceFile>& files, const Layout& layout,
                   std::set<std::string>* wrong) {
  for (const SourceFile& file : files) {
    const std::vector<std::string> parts = absl::StrSplit(file.path, '/');
    std::string folder;
    for (size_t depth = 0; depth + 1 < parts.size(); ++depth) {
      const auto order = layout.find(folder);
      if (order != layout.end() && std::find(order->second.begin(), order->second.end(),
                                             parts[depth]) == order->second.end()) {
        wrong->insert(absl::StrCat("folder ", folder, folder.empty() ? "" : "/", parts[depth],
                                   " has no place in the order of ",
                                   folder.empty() ? "the tree" : folder, " (",
                                   absl::StrJoin(order->second, " "), "): give it one"));
        break;
      }
      absl::StrAppend(&folder, folder.empty() ? "" : "/", parts[depth]);
    }
  }
}

// Folders between which a way leads there and back.
void FindCircles(const std::vector<Include>& includes, std::set<std::string>* wrong) {
  std::map<std::string, std::map<std::string, Include>> arrows;
  for (const Include& include : includes) {
    if (std::find(std::begin(kAboveItsFolder), std::end(kAboveItsFolder), include.from) !=
        std::end(kAboveItsFolder)) {
      continue;
    }
    const std::string from = FolderOf(include.from);
    const std::string to = FolderOf(include.to);
    if (from != to) arrows[from].try_emplace(to, include);
  }
  const auto reaches = [&arrows](const std::string& from, const std::string& goal) {
    std::set<std::string> seen = {from};
    std::vector<std::string> open = {from};
    while (!open.empty()) {
      const std::string folder = open.back();
      open.pop_back();
      if (folder == goal) return true;
      const auto known = arrows.find(folder);
      if (known == arrows.end()) continue;
      for (const auto& [next, unused] : known->second) {
        if (seen.insert(next).second) open.push_back(next);
      }
    }
    return false;
  };
  for (const auto& [from, known] : arrows) {
    for (const auto& [to, include] : known) {
      if (!reaches(to, from)) continue;
      wrong->insert(absl::StrCat("folders ", from, " and ", to, " know each other: ", include.from,
                                 " includes ", include.to, ", and a way leads back"));
    }
  }
}

}  // namespace

bool IsTest(const std::string& path) {
  return absl::EndsWith(path, "_test.cc") || absl::EndsWith(path, "_testing.h") ||
         absl::EndsWith(path, "_testing.cc") || path == "base/testing.h" ||
         absl::StrContains(path, "/fuzz/");
}

std::vector<std::string> SubdirectoriesOf(const std::string& cmake) {
  std::vector<std::string> folders;
  const std::regex call(R"(add_subdirectory\(\s*([\w./-]+)\s*\))");
  for (std::sregex_iterator it(cmake.begin(), cmake.end(), call), end; it != end; ++it) {
    folders.push_back((*it)[1].str());
  }
  return folders;
}

std::vector<std::string> WrongIncludes(const std::vector<SourceFile>& files, const Layout& layout) {
  std::set<std::string> ours;
  for (const SourceFile& file : files) {
    ours.insert(std::string(file.path.substr(0, file.path.find('/'))));
  }
  if (const auto top = layout.find(""); top != layout.end()) {
    ours.insert(top->second.begin(), top->second.end());
  }
  std::set<std::string> wrong;
  std::vector<Include> includes;
  for (const SourceFile& file : files) {
    if (IsTest(file.path)) continue;
    const bool for_tests =
        absl::StartsWith(file.path, "tests/") || absl::StartsWith(file.path, "bench/");
    for (const std::string& included : IncludedBy(file.text)) {
      Include include{.from = file.path, .to = SourceOf(included)};
      // The libraries of others have names like folders, none of them one of ours.
      if (!absl::StrContains(include.to, '/') ||
          !ours.contains(include.to.substr(0, include.to.find('/')))) {
        continue;
      }
      if (IsTest(include.to) && !for_tests) {
        wrong.insert(absl::StrCat(include.from, " includes ", include.to, ", which is for tests"));
      }
      if (const std::string text = WrongAgainst(layout, include); !text.empty()) {
        wrong.insert(text);  // and no circle besides, in which half the tree would have a part
      } else {
        includes.push_back(std::move(include));
      }
    }
  }
  FindUnordered(files, layout, &wrong);
  FindCircles(includes, &wrong);
  return {wrong.begin(), wrong.end()};
}

std::vector<std::string> HeadersWithMessages(const std::vector<SourceFile>& files) {
  std::vector<std::string> headers;
  for (const SourceFile& file : files) {
    if (!absl::EndsWith(file.path, ".h") || IsTest(file.path)) continue;
    for (const std::string& included : IncludedBy(file.text)) {
      if (absl::EndsWith(included, ".pb.h") || absl::StartsWith(included, "grpc")) {
        headers.push_back(file.path);
        break;
      }
    }
  }
  std::sort(headers.begin(), headers.end());
  return headers;
}

}  // namespace bdr::docs
