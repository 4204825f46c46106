#include "node-agent/capture/transaction_writer.h"

#include <optional>
#include <utility>

#include "base/status_macros.h"

namespace bdr::agent {
namespace {

// Changes that are converted together.
constexpr size_t kConvertBytes = 1 << 20;
constexpr size_t kConvertChanges = 1000;

}  // namespace

bool TransactionWriter::NeedsForms(const AssembledChange& change) const {
  return !change.truncate && (as_text_ || change.relations.front()->forms.any_text);
}

absl::Status TransactionWriter::Add(const AssembledChange& change) {
  if (waiting_.empty() && !holds_back_ && !NeedsForms(change)) {
    return Write(change.relations, change.truncate, change.bytes);
  }
  waiting_.push_back({.relations = {change.relations.begin(), change.relations.end()},
                      .truncate = change.truncate,
                      .bytes = std::string(change.bytes)});
  unconverted_bytes_ += change.bytes.size();
  if (unconverted_bytes_ < kConvertBytes && waiting_.size() - converted_ < kConvertChanges) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(ConvertWaiting());
  return holds_back_ ? absl::OkStatus() : WriteWaiting();
}

absl::Status TransactionWriter::ConvertWaiting() {
  std::vector<WireForms::Change> conversions;
  std::vector<size_t> converted;  // which of those that wait
  for (size_t i = converted_; i < waiting_.size(); ++i) {
    const Waiting& one = waiting_[i];
    if (!NeedsForms({.relations = one.relations, .truncate = one.truncate, .bytes = one.bytes})) {
      continue;
    }
    converted.push_back(i);
    conversions.push_back(
        {.relation = one.relations.front().get(), .bytes = one.bytes, .converted = {}});
  }
  converted_ = waiting_.size();
  unconverted_bytes_ = 0;
  if (conversions.empty()) return absl::OkStatus();
  const absl::Status status =
      relations_->forms().Convert(transaction_.commit.xid, absl::MakeSpan(conversions));
  refused_ = absl::IsFailedPrecondition(status);
  RETURN_IF_ERROR(status);
  for (size_t i = 0; i < converted.size(); ++i) {
    std::optional<std::string>& bytes = conversions[i].converted;
    if (bytes.has_value()) waiting_[converted[i]].bytes = *std::move(bytes);
  }
  return absl::OkStatus();
}

absl::Status TransactionWriter::WriteWaiting() {
  for (const Waiting& one : waiting_) {
    RETURN_IF_ERROR(Write(one.relations, one.truncate, one.bytes));
  }
  waiting_.clear();
  converted_ = 0;
  return absl::OkStatus();
}

absl::Status TransactionWriter::Write(absl::Span<const Relation> relations, bool truncate,
                                      absl::string_view bytes) {
  if (!begun_) {
    RETURN_IF_ERROR(
        blocks_->Begin(transaction_.header, transaction_.commit, transaction_.expected_bytes));
  }
  begun_ = true;
  return truncate ? blocks_->AddTruncate(relations, bytes) : blocks_->Add(relations.front(), bytes);
}

absl::Status TransactionWriter::End() {
  RETURN_IF_ERROR(ConvertWaiting());
  RETURN_IF_ERROR(WriteWaiting());
  return begun_ ? blocks_->End() : absl::OkStatus();
}

}  // namespace bdr::agent
