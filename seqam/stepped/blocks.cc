#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "seqam/stepped/blocks_sql.h"
#include "seqam/stepped/stepped.h"

namespace bdr::seqam {
namespace {

constexpr int kBlocksTag = 3;
constexpr int kRoundShift = 42;
// Of `v >> kRoundShift`: all but the node, so that one comparison tells method and round.
constexpr int64_t kTagAndRound =
    (int64_t{31} << (kTagShift - kRoundShift)) | ((int64_t{1} << (kNodeShift - kRoundShift)) - 1);
constexpr int64_t kBlocksTagOnly = (FirstOrdinal(kBlocksTag, 0) >> kRoundShift) & kTagAndRound;

// blocks.sql says what this computes, as bdr.stepped_blocks_id().
constexpr char kBlocksQuick[] = R"sql(
        WHEN (v >> 42) & @TAG_AND_ROUND@ = (m & 31) + @TAG@
            THEN (v & 4398046511103) + (((m >> 20) + ((v & 4398046511103) >> ((m >> 5) & 31)::int4)
                                                     * ((m >> 10) & 1023)) << ((m >> 5) & 31)::int4)
)sql";

constexpr char kBlocksNextval[] = R"sql(
        RETURN bdr.stepped_blocks_next(s, register, v);
)sql";

class SteppedBlocksMethod : public Method {
 public:
  absl::string_view name() const override { return "stepped_blocks"; }
  absl::string_view summary() const override {
    return "blocks of consecutive numbers, dealt round to as many slots for nodes; needs nobody";
  }
  std::optional<int> tag() const override { return kBlocksTag; }
  absl::string_view InstallSql() const override { return kSteppedBlocksSql; }
  absl::string_view QuickSql() const override { return quick_; }
  absl::string_view NextvalSql() const override { return kBlocksNextval; }
  absl::string_view CurrvalSql() const override { return "bdr.stepped_blocks_known(register, v)"; }
  absl::string_view FloorSql() const override { return "bdr.stepped_blocks_known(register, v)"; }
  absl::string_view CeilingSql() const override {
    return "bdr.stepped_blocks_id(pg_sequence_last_value(register), v)";
  }

 private:
  const std::string quick_ = absl::StrReplaceAll(
      kBlocksQuick,
      {{"@TAG_AND_ROUND@", absl::StrCat(kTagAndRound)}, {"@TAG@", absl::StrCat(kBlocksTagOnly)}});
};

}  // namespace

const Method* SteppedBlocks() {
  static const SteppedBlocksMethod method;
  return &method;
}

}  // namespace bdr::seqam
