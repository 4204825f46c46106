// A rule for every log line, whatever a test brings about.
#pragma once

#include <string>
#include <vector>

namespace bdr::harness {

// "file: line" for each line that announces a reason and then has none: that ends in a colon. Files
// that are not there (of what never started) have no such lines.
std::vector<std::string> LinesWithoutReason(const std::vector<std::string>& files);

}  // namespace bdr::harness
