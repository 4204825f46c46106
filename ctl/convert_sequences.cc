#include "ctl/convert_sequences.h"

#include <algorithm>
#include <ostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace bdr::ctl {
namespace {

// In one error, before a person sees no end of it.
constexpr size_t kNamedAtOnce = 20;

class Round {
 public:
  Round(const Invocation& invocation, const Server& server, SequenceWish wish, bool dry_run,
        const std::vector<std::string>& sequences, std::vector<SequenceNode>* nodes)
      : invocation_(invocation),
        server_(server),
        wish_(std::move(wish)),
        dry_run_(dry_run),
        sequences_(sequences),
        nodes_(nodes) {}

  absl::StatusOr<int> Run();

 private:
  absl::Status Convert(const std::string& sequence);
  // At once, so that a person sees how far it is.
  void Say(const std::string& text) const {
    if (invocation_.globals.format == OutputFormat::kTable) *invocation_.out << text << std::flush;
  }
  std::string Summary() const;
  // Of sequences_[failed]. Programs get the same in the array.
  absl::Status Stop(size_t failed, const absl::Status& error);
  void PrintDocument() {
    if (invocation_.globals.format != OutputFormat::kTable) {
      invocation_.Print({.text = "", .document = std::move(document_)});
    }
  }

  const Invocation& invocation_;
  const Server& server_;
  SequenceWish wish_;
  const bool dry_run_;
  const std::vector<std::string>& sequences_;
  std::vector<SequenceNode>* const nodes_;
  size_t converted_ = 0;
  size_t unchanged_ = 0;
  Json document_ = Json::array();
};

absl::Status Round::Convert(const std::string& sequence) {
  wish_.sequence = sequence;
  SequenceConversion conversion(wish_, nodes_);
  RETURN_IF_ERROR(conversion.Look(server_));
  if (!dry_run_) RETURN_IF_ERROR(conversion.Run(server_));
  ++(conversion.done() ? unchanged_ : converted_);
  if (dry_run_) Say(absl::StrCat("sequence ", sequence, ":\n"));
  Say(conversion.Text(dry_run_));
  document_.push_back(conversion.Document(dry_run_));
  return absl::OkStatus();
}

std::string Round::Summary() const {
  return absl::StrCat(converted_, dry_run_ ? " to be converted, " : " converted, ", unchanged_,
                      " of method ", wish_.method, " already");
}

absl::Status Round::Stop(size_t failed, const absl::Status& error) {
  std::vector<std::string> left(sequences_.begin() + static_cast<std::ptrdiff_t>(failed) + 1,
                                sequences_.end());
  document_.push_back({{"sequence", sequences_[failed]},
                       {"method", wish_.method},
                       {"dry_run", dry_run_},
                       {"state", "failed"},
                       {"error", error.message()}});
  for (const std::string& sequence : left) {
    document_.push_back({{"sequence", sequence},
                         {"method", wish_.method},
                         {"dry_run", dry_run_},
                         {"state", "not_begun"}});
  }
  if (sequences_.size() == 1) return error;
  const size_t all = left.size();
  if (all > kNamedAtOnce) left.resize(kNamedAtOnce);
  const std::string rest = all == 0 ? "none after it"
                                    : absl::StrCat(all, " not begun (", absl::StrJoin(left, ", "),
                                                   all > left.size() ? ", ..." : "", ")");
  return absl::Status(
      error.code(),
      absl::StrCat("sequence \"", sequences_[failed], "\": ", error.message(), "; ", Summary(),
                   ", ", rest, dry_run_ ? "" : ": the same command goes on where it ended"));
}

absl::StatusOr<int> Round::Run() {
  for (size_t i = 0; i < sequences_.size(); ++i) {
    const absl::Status status = Convert(sequences_[i]);
    if (!status.ok()) {
      const absl::Status stopped = Stop(i, status);
      PrintDocument();
      return stopped;
    }
  }
  if (sequences_.empty()) {
    Say("none of these sequences was converted: each is PostgreSQL's own\n");
  } else if (sequences_.size() > 1) {
    Say(absl::StrCat(sequences_.size(), " sequences: ", Summary(), "\n"));
  }
  PrintDocument();
  return kGood;
}

}  // namespace

absl::StatusOr<int> ConvertSequences(const Invocation& invocation, const Server& server,
                                     const SequenceWish& wish, bool dry_run,
                                     const std::vector<std::string>& sequences,
                                     std::vector<SequenceNode>& nodes) {
  return Round(invocation, server, wish, dry_run, sequences, &nodes).Run();
}

}  // namespace bdr::ctl
