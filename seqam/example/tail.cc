#include "seqam/example/tail.h"

#include "seqam/example/tail_sql.h"

namespace bdr::seqam {
namespace {

class TailMethod : public Method {
 public:
  absl::string_view name() const override { return "tail"; }
  absl::string_view summary() const override { return "ids that end in the node's number"; }
  // The first that no other method has.
  std::optional<int> tag() const override { return 7; }
  absl::string_view InstallSql() const override { return kTailSql; }
  absl::string_view NextvalSql() const override { return "        RETURN bdr.tail_id(m, v);\n"; }
  absl::string_view CurrvalSql() const override {
    return "bdr.tail_id(pg_catalog.pg_sequence_last_value(register), v)";
  }
  absl::string_view FloorSql() const override { return CurrvalSql(); }
};

}  // namespace

const Method* Tail() {
  static const TailMethod method;
  return &method;
}

}  // namespace bdr::seqam
