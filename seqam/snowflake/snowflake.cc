#include "seqam/snowflake/snowflake.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "seqam/snowflake/snowflake_sql.h"

namespace bdr::seqam {
namespace {

constexpr int kSnowflakeTag = 1;
constexpr int kStretchBits = 18;
// Of `v >> kStretchBits`: all but the node, so that one comparison tells method and stretch.
constexpr int64_t kTagAndStretch =
    (int64_t{31} << (kTagShift - kStretchBits)) | ((int64_t{1} << (kNodeShift - kStretchBits)) - 1);
constexpr int64_t kSnowflakeTagOnly =
    (FirstOrdinal(kSnowflakeTag, 0) >> kStretchBits) & kTagAndStretch;

// snowflake.sql says what this computes. The clock is compared as a number that PostgreSQL makes
// from a time without parsing a unit's name: 4194304000 = 2^28 / 0.064 s.
constexpr char kSnowflakeQuick[] = R"sql(
        WHEN (v >> 18) & @TAG_AND_STRETCH@ = (m & 268435455) + @TAG@
            AND pg_catalog.tstzrange_subdiff(pg_catalog.clock_timestamp(),
                                             '2024-01-01 00:00:00.064+00') * 4194304000 < m::float8
            THEN (m & -268435456) + ((v >> 37) & 4190208) + ((v & 258048) << 10) + (v & 4095)
)sql";

constexpr char kSnowflakeNextval[] = R"sql(
        RETURN bdr.snowflake_next(s, register, v);
)sql";

class SnowflakeMethod : public Method {
 public:
  absl::string_view name() const override { return "snowflake"; }
  absl::string_view summary() const override {
    return "time, node and counter in 63 bits; needs nobody, and columns of type bigint";
  }
  std::optional<int> tag() const override { return kSnowflakeTag; }
  absl::string_view InstallSql() const override { return kSnowflakeSql; }
  absl::string_view QuickSql() const override { return quick_; }
  absl::string_view NextvalSql() const override { return kSnowflakeNextval; }
  absl::string_view CurrvalSql() const override { return "bdr.snowflake_currval(register, v)"; }
  // Within a piece ids rise as ordinals do, and whoever draws next leaves a piece that has passed:
  // that leans on a clock which is not set back, as an empty register does.
  absl::string_view FloorSql() const override {
    return "GREATEST((pg_catalog.pg_sequence_last_value(register) & -268435456) - 1, "
           "bdr.snowflake_id(pg_catalog.pg_sequence_last_value(register), v), "
           "(bdr.snowflake_at(pg_catalog.clock_timestamp()) & -268435456) - 1)";
  }
  absl::string_view CeilingSql() const override {
    // Nothing was drawn: the register's piece alone, or it could never be brought to a method whose
    // numbers are smaller.
    return "GREATEST(CASE WHEN pg_sequence_last_value(s) IS NOT NULL"
           " THEN bdr.snowflake_at(clock_timestamp() + '1 hour') END, "
           "pg_sequence_last_value(register) | 268435455)";
  }

 private:
  const std::string quick_ =
      absl::StrReplaceAll(kSnowflakeQuick, {{"@TAG_AND_STRETCH@", absl::StrCat(kTagAndStretch)},
                                            {"@TAG@", absl::StrCat(kSnowflakeTagOnly)}});
};

}  // namespace

const Method* Snowflake() {
  static const SnowflakeMethod method;
  return &method;
}

}  // namespace bdr::seqam
