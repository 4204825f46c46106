#include "seqam/stepped/stepped.h"

#include "seqam/stepped/stepped_sql.h"

namespace bdr::seqam {
namespace {

class SteppedMethod : public Method {
 public:
  absl::string_view name() const override { return "stepped"; }
  absl::string_view summary() const override {
    return "PostgreSQL's own, in steps of as many as there are slots for nodes; needs nobody";
  }
  std::optional<int> tag() const override { return std::nullopt; }
  absl::string_view InstallSql() const override { return kSteppedSql; }
  absl::string_view NextvalSql() const override { return ""; }
};

}  // namespace

const Method* Stepped() {
  static const SteppedMethod method;
  return &method;
}

}  // namespace bdr::seqam
