// Text tables for people: columns as wide as their widest cell, two spaces apart.
#pragma once

#include <string>
#include <vector>

namespace bdr::ctl {

class Table {
 public:
  enum class Align { kLeft, kRight };  // numbers read best to the right
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // One cell for each column; missing ones are empty, surplus ones are a bug of the caller.
  void AddRow(std::vector<std::string> cells);

  bool empty() const { return rows_.empty(); }

  // Title line and rows, each ended by a newline, without blanks at line ends. Line breaks inside a
  // cell become blanks: a row is a line.
  std::string Render() const;

 private:
  const std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace bdr::ctl
