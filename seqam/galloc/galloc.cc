#include "seqam/galloc/galloc.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "seqam/galloc/galloc_sql.h"
#include "seqam/galloc/layout.h"

namespace bdr::seqam {
namespace {

// An ordinal of this method (its tag is 0) and of a kind, by these bits.
constexpr int64_t kTagAndKind = INT64_MIN | int64_t{15} << kTagShift | int64_t{7} << kCountBits;

// One kind, with its numbers written out, as this is all that a call costs; bdr.galloc_id() is the
// same for each.
constexpr char kQuick[] = R"sql(
        WHEN v & @TAG_AND_KIND@ = @THIS_KIND@
            AND ((v & 70368744177663) >> (@UNIT@ + (m >> 60 & 14)::int4)) & @PIECES@
                = (m >> @ID_BITS@) & @PIECES@
            THEN ((m & @IDS@) << @UNIT@) + (v & ((1::int8 << (@UNIT@ + (m >> 60 & 14)::int4)) - 1))
)sql";

std::string QuickOf(const GallocKind& kind) {
  return absl::StrReplaceAll(
      kQuick, {{"@TAG_AND_KIND@", absl::StrCat(kTagAndKind)},
               {"@THIS_KIND@", absl::StrCat(INT64_MIN + (int64_t{kind.number} << kCountBits))},
               {"@UNIT@", absl::StrCat(kind.unit)},
               {"@ID_BITS@", absl::StrCat(kind.id_bits)},
               {"@IDS@", absl::StrCat((int64_t{1} << kind.id_bits) - 1)},
               {"@PIECES@", absl::StrCat((int64_t{1} << (kSizeShift - kind.id_bits)) - 1)}});
}

constexpr char kNextval[] = R"sql(
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
  absl::string_view QuickSql() const override { return quick_; }
  absl::string_view NextvalSql() const override { return kNextval; }
  absl::string_view CurrvalSql() const override { return "bdr.galloc_currval(s, register, v)"; }
  // Grants rise, and so do the chunks of a node.
  absl::string_view FloorSql() const override { return CurrvalSql(); }
  bool needs_allocator() const override { return true; }

 private:
  const std::string quick_ =
      absl::StrCat(QuickOf(*FindGallocKind("bigint")), QuickOf(*FindGallocKind("integer")));
};

}  // namespace

const Method* Galloc() {
  static const GallocMethod method;
  return &method;
}

}  // namespace bdr::seqam
