#include "postgres/letter_case.h"

#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "base/status_macros.h"

namespace bdr::postgres {
namespace {

// A libc locale lowers letter by letter (in PostgreSQL towlower_l() of each). What the letters
// become may change with the operating system's locales: hence their version in the name. Of a
// remote standby, a copy or a major version nothing is taken for granted either.
constexpr char kLocaleSql[] = R"(
SELECT CASE WHEN d.datlocprovider = 'c' AND pg_catalog.pg_encoding_to_char(d.encoding) = 'UTF8'
            THEN pg_catalog.concat_ws('/', pg_catalog.version(), d.datctype,
                   pg_catalog.pg_collation_actual_version('pg_catalog."default"'::pg_catalog.regcollation)) ELSE '' END
  FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())";

// Letters that are no others' lower case, with what they become. The rest stays as it is: beyond
// Unicode's planes 0 and 1 lie ideographs and such, which have no case, and a million calls of
// lower() take a server half a second.
constexpr char kLettersSql[] = R"(
SELECT pg_catalog.string_agg(c || '>' || pg_catalog.ascii(l), ',')
  FROM (SELECT c, pg_catalog.lower(pg_catalog.chr(c) COLLATE pg_catalog."default") AS l
          FROM pg_catalog.generate_series(1, 131071) AS c
         WHERE c NOT BETWEEN 55296 AND 57343) AS letters
 WHERE l COLLATE pg_catalog."C" <> pg_catalog.chr(c))";

// One code point from the front of `text`; unset if that is not UTF-8.
std::optional<uint32_t> TakeCodePoint(absl::string_view* text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>((*text)[i]); };
  const unsigned char first = byte(0);
  const size_t size = first < 0x80    ? 1
                      : first >= 0xf0 ? 4
                      : first >= 0xe0 ? 3
                      : first >= 0xc0 ? 2
                                      : 0;
  if (size == 0 || size > text->size()) return std::nullopt;
  uint32_t point = size == 1 ? first : first & (0xffu >> (size + 1));
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return std::nullopt;
    point = point << 6 | (byte(i) & 0x3fu);
  }
  text->remove_prefix(size);
  return point;
}

void AppendCodePoint(std::string* out, uint32_t point) {
  const auto tail = [out](uint32_t bits) {
    out->push_back(static_cast<char>(0x80 | (bits & 0x3f)));
  };
  if (point < 0x80) {
    out->push_back(static_cast<char>(point));
  } else if (point < 0x800) {
    out->push_back(static_cast<char>(0xc0 | point >> 6));
    tail(point);
  } else if (point < 0x10000) {
    out->push_back(static_cast<char>(0xe0 | point >> 12));
    tail(point >> 6);
    tail(point);
  } else {
    out->push_back(static_cast<char>(0xf0 | point >> 18));
    tail(point >> 12);
    tail(point >> 6);
    tail(point);
  }
}

absl::StatusOr<LetterCase::Table> ParseLetters(absl::string_view list) {
  LetterCase::Table table;
  for (const absl::string_view pair : absl::StrSplit(list, ',', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> letters = absl::StrSplit(pair, '>');
    uint32_t from = 0;
    uint32_t to = 0;
    if (!absl::SimpleAtoi(letters.first, &from) || !absl::SimpleAtoi(letters.second, &to)) {
      return absl::InternalError(absl::StrCat("the server gave \"", pair, "\" for a letter"));
    }
    table[from] = to;
  }
  return table;
}

struct Known {
  absl::Mutex mu;
  absl::flat_hash_map<std::string, std::shared_ptr<const LetterCase>> by_locale ABSL_GUARDED_BY(mu);
};

Known& KnownLocales() {
  static Known* const known = new Known;
  return *known;
}

}  // namespace

std::optional<std::string> LetterCase::Lower(absl::string_view text) const {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::optional<uint32_t> point = TakeCodePoint(&text);
    if (!point.has_value()) return std::nullopt;
    const auto lower = table_.find(*point);
    AppendCodePoint(&out, lower == table_.end() ? *point : lower->second);
  }
  return out;
}

// FNV-1a.
uint64_t LetterCase::Fingerprint() const {
  uint64_t hash = 0xcbf29ce484222325;
  for (const auto& [from, to] : std::map<uint32_t, uint32_t>(table_.begin(), table_.end())) {
    for (const uint32_t point : {from, to}) {
      for (int shift = 24; shift >= 0; shift -= 8) {
        hash = (hash ^ (point >> shift & 0xff)) * 0x100000001b3;
      }
    }
  }
  return hash;
}

absl::StatusOr<std::shared_ptr<const LetterCase>> LoadLetterCase(Connection& connection) {
  ASSIGN_OR_RETURN(const std::string locale, connection.QueryValue(kLocaleSql));
  if (locale.empty()) return nullptr;
  {
    absl::MutexLock lock(&KnownLocales().mu);
    const auto known = KnownLocales().by_locale.find(locale);
    if (known != KnownLocales().by_locale.end()) return known->second;
  }
  ASSIGN_OR_RETURN(const std::string letters, connection.QueryValue(kLettersSql));
  ASSIGN_OR_RETURN(LetterCase::Table table, ParseLetters(letters));
  auto loaded = std::make_shared<const LetterCase>(std::move(table));
  absl::MutexLock lock(&KnownLocales().mu);
  return KnownLocales().by_locale.emplace(locale, std::move(loaded)).first->second;
}

}  // namespace bdr::postgres
