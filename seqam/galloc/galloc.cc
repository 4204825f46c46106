#include "seqam/galloc/galloc.h"

#include "seqam/galloc/galloc_sql.h"

namespace bdr::seqam {
namespace {

// The kinds are written out, as this is all that a call costs; galloc_id() is the same for each.
constexpr char kNextval[] = R"sql(
        CASE v >> 46 & 7
        WHEN 2 THEN
            shift := 10 + (m >> 60 & 14)::int4;
            IF ((v & 70368744177663) >> shift) & 33554431 = (m >> 36) & 33554431 THEN
                RETURN ((m & 68719476735) << 10) + (v & ((1::int8 << shift) - 1));
            END IF;
        WHEN 1 THEN
            shift := 6 + (m >> 60 & 14)::int4;
            IF ((v & 70368744177663) >> shift) & 34359738367 = (m >> 26) & 34359738367 THEN
                RETURN ((m & 67108863) << 6) + (v & ((1::int8 << shift) - 1));
            END IF;
        ELSE
            NULL;
        END CASE;
        RETURN bdr.galloc_wait(s, register, v);
)sql";

class GallocMethod : public Method {
 public:
  absl::string_view name() const override { return "galloc"; }
  absl::string_view summary() const override {
    return "ids in chunks that bdr-server grants: dense, and small enough for any integer type";
  }
  std::optional<int> tag() const override { return 0; }
  absl::string_view InstallSql() const override { return kGallocSql; }
  absl::string_view NextvalSql() const override { return kNextval; }
  bool needs_allocator() const override { return true; }
};

}  // namespace

const Method* Galloc() {
  static const GallocMethod method;
  return &method;
}

}  // namespace bdr::seqam
