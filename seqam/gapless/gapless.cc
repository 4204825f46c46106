#include "seqam/gapless/gapless.h"

#include "seqam/gapless/gapless_sql.h"

namespace bdr::seqam {
namespace {

constexpr char kGaplessNextval[] = R"sql(
        RETURN bdr.gapless_next(s, register, v);
)sql";

class GaplessMethod : public Method {
 public:
  absl::string_view name() const override { return "gapless"; }
  absl::string_view summary() const override {
    return "1, 2, 3 without a gap: one node at a time, until its transaction ends; slow";
  }
  std::optional<int> tag() const override { return 4; }
  absl::string_view InstallSql() const override { return kGaplessSql; }
  absl::string_view NextvalSql() const override { return kGaplessNextval; }
  absl::string_view CurrvalSql() const override { return "bdr.gapless_currval(s, v)"; }
  absl::string_view FloorSql() const override {
    return "(SELECT g.next - 1 FROM bdr.gapless g WHERE g.relation = s AND g.held)";
  }
  // Others may have drawn more: what of it has come here is in the columns.
  absl::string_view CeilingSql() const override {
    return "bdr.gapless_ceiling(s)";
  }
};

}  // namespace

const Method* Gapless() {
  static const GaplessMethod method;
  return &method;
}

}  // namespace bdr::seqam
