#include "seqam/local/local.h"

namespace bdr::seqam {
namespace {

class LocalMethod : public Method {
 public:
  absl::string_view name() const override { return "local"; }
  absl::string_view summary() const override {
    return "PostgreSQL's own: each node counts for itself, so two may give out the same number";
  }
  std::optional<int> tag() const override { return std::nullopt; }
  absl::string_view InstallSql() const override { return ""; }
  absl::string_view NextvalSql() const override { return ""; }
};

}  // namespace

const Method* Local() {
  static const LocalMethod method;
  return &method;
}

}  // namespace bdr::seqam
