#include "ctl/table.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace bdr::ctl {
namespace {

// Code points rather than bytes; combining and double-width characters are not worth a library.
size_t Width(absl::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

void AppendCell(std::string& line, absl::string_view cell, size_t width, Table::Align align) {
  const std::string padding(width - std::min(width, Width(cell)), ' ');
  if (align == Table::Align::kRight) absl::StrAppend(&line, padding, cell);
  if (align == Table::Align::kLeft) absl::StrAppend(&line, cell, padding);
}

}  // namespace

void Table::AddRow(std::vector<std::string> cells) {
  if (cells.size() > columns_.size()) {
    std::cerr << "bug: a table row has " << cells.size() << " cells for " << columns_.size()
              << " columns\n";
    std::abort();
  }
  cells.resize(columns_.size());
  for (std::string& cell : cells) {
    std::replace_if(
        cell.begin(), cell.end(), [](unsigned char c) { return absl::ascii_iscntrl(c); }, ' ');
  }
  rows_.push_back(std::move(cells));
}

std::string Table::Render() const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = Width(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, Width(row[i]));
    widths.push_back(width);
  }

  std::string text;
  auto append_line = [&](auto cell_of) {
    std::string line;
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) line += "  ";
      AppendCell(line, cell_of(i), widths[i], columns_[i].align);
    }
    absl::StrAppend(&text, absl::StripTrailingAsciiWhitespace(line), "\n");
  };
  append_line([&](size_t i) -> const std::string& { return columns_[i].title; });
  for (const auto& row : rows_) {
    append_line([&](size_t i) -> const std::string& { return row[i]; });
  }
  return text;
}

}  // namespace bdr::ctl
