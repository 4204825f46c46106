#include "bench/sequences.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "postgres/connection.h"
#include "postgres/setup/setup_sql.h"
#include "seqam/galloc/layout.h"
#include "seqam/method.h"
#include "tests/harness/postgres_server.h"

namespace bdr::bench {
namespace {

constexpr char kNative[] = "native";
constexpr int kRoundsOfATable = 10;

struct Contestant {
  std::string name;
  std::string convert;  // after its table t_NAME was made; empty for PostgreSQL's own
  std::function<std::string(int)> before = {};  // SQL before its n-th measurement
};

std::string Convert(const std::string& method, int number) {
  return absl::StrCat("SELECT bdr.convert_sequence('public.t_", method, "_id_seq', '", method,
                      "', ", number, ", 1, 1, '{\"block\": 1024, \"slots\": 4, \"slot\": 0}')");
}

// What an agent writes once it was granted a chunk: here the largest, 16 million ids, for each
// measurement.
std::string GrantChunk(int number, int chunk) {
  const seqam::GallocKind& kind = *seqam::FindGallocKind("bigint");
  seqam::Piece piece{.size = seqam::kSizes - 1};
  piece.ordinal = static_cast<uint64_t>(chunk) * piece.count(kind);
  piece.id = static_cast<int64_t>(piece.ordinal);
  const int64_t before = seqam::FirstOrdinal(0, 1) + (int64_t{kind.number} << seqam::kCountBits) +
                         static_cast<int64_t>(piece.ordinal) - 1;
  return absl::StrCat("SELECT setval('bdr.sequence_", number, "', ", seqam::PackPiece(kind, piece),
                      "), setval('bdr.sequence_", number, "_end', ", piece.end(kind),
                      "), setval('public.t_galloc_id_seq', ", before, ")");
}

std::vector<Contestant> Contestants() {
  std::vector<Contestant> contestants = {{kNative, ""}};
  int number = 0;
  for (const char* method : {"stepped", "stepped_blocks", "snowflake"}) {
    contestants.push_back({method, Convert(method, ++number)});
  }
  ++number;
  contestants.push_back(
      {"galloc", Convert("galloc", number), [number](int n) { return GrantChunk(number, n + 1); }});
  // With the turn, which an agent takes.
  ++number;
  contestants.push_back(
      {"gapless", absl::StrCat(Convert("gapless", number),
                               "; UPDATE bdr.gapless SET turn = 1, held = true, next = 1;"
                               " SELECT bdr.gapless_set_open('bdr.sequence_",
                               number, "', 1)")});
  return contestants;
}

// What is measured: a statement that is repeated, and how many ids each draws.
struct Measurement {
  const char* name;
  int ids;
  std::string (*sql)(const std::string& contestant);
};

std::string OneRow(const std::string& name) {
  return absl::StrCat("INSERT INTO public.t_", name, " (note) VALUES ('a row of some length')");
}
std::string ManyRows(const std::string& name) {
  return absl::StrCat("INSERT INTO public.t_", name,
                      " (note) SELECT 'a row of some length' FROM generate_series(1, 1000)");
}
// As the column's default draws, without the row.
std::string Calls(const std::string& name) {
  return absl::StrCat("SELECT count(public.next_", name, "()) FROM generate_series(1, 1000)");
}

const Measurement kMeasurements[] = {{"single-row commits", 1, OneRow},
                                     {"rows, 1000 a statement", 1000, ManyRows},
                                     {"bare calls", 1000, Calls}};

absl::Status Prepare(const harness::PostgresServer& server,
                     const std::vector<Contestant>& contestants) {
  ASSIGN_OR_RETURN(const std::string script, pg_setup::SetupSql({.settings = false}));
  RETURN_IF_ERROR(server.RunScript(script));
  for (const Contestant& contestant : contestants) {
    const std::string table = absl::StrCat("public.t_", contestant.name);
    RETURN_IF_ERROR(server.Exec(
        absl::StrCat("CREATE TABLE ", table, " (id bigserial PRIMARY KEY, note text)")));
    if (!contestant.convert.empty()) RETURN_IF_ERROR(server.Exec(contestant.convert));
    ASSIGN_OR_RETURN(
        const std::string call,
        server.QueryValue(absl::StrCat("SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE "
                                       "adrelid = '",
                                       table, "'::regclass")));
    // Put in place of its call, so that it costs nothing.
    RETURN_IF_ERROR(
        server.Exec(absl::StrCat("CREATE FUNCTION public.next_", contestant.name,
                                 "() RETURNS bigint LANGUAGE sql AS $$ SELECT ", call, " $$")));
  }
  return absl::OkStatus();
}

// Ids a second.
absl::StatusOr<double> Turn(postgres::Connection& session, const std::string& sql, int ids,
                            absl::Duration length) {
  RETURN_IF_ERROR(session.ExecKept(sql, {}).status());  // planned, and its table in the cache
  const absl::Time begun = absl::Now();
  absl::Duration taken;
  int64_t statements = 0;
  while (taken < length) {
    RETURN_IF_ERROR(session.ExecKept(sql, {}).status());
    ++statements;
    taken = absl::Now() - begun;
  }
  return static_cast<double>(statements * ids) / absl::ToDoubleSeconds(taken);
}

// The value that `share` of all lie below.
double Quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values.empty()
             ? 0
             : values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

// Where other programs interrupt a turn now and then: what they leave alone.
constexpr double kAtBest = 0.9;

}  // namespace

absl::Status MeasureSequences(const SequenceSettings& settings, Figures* figures) {
  harness::PostgresOptions options;
  options.fsync = true;
  ASSIGN_OR_RETURN(const auto server, harness::PostgresServer::Create(std::move(options)));
  const std::vector<Contestant> contestants = Contestants();
  RETURN_IF_ERROR(Prepare(*server, contestants));

  ASSIGN_OR_RETURN(const auto session, server->Connect());
  RETURN_IF_ERROR(session->Exec("SET synchronous_commit = off").status());
  std::printf("%-24s %-16s %14s %10s %10s %10s\n", "", "", "ids a second", "us an id", "of native",
              "at best");
  int tables = 0;
  for (const Measurement& measurement : kMeasurements) {
    std::map<std::string, std::vector<double>> rates;
    std::map<std::string, std::vector<double>> ratios;
    for (int round = 0; round < settings.rounds; ++round) {
      double native = 0;
      for (const Contestant& contestant : contestants) {
        // Tables of one size: as an index grows, so does the cost of a row.
        if (round % kRoundsOfATable == 0) {
          RETURN_IF_ERROR(
              session->Exec(absl::StrCat("TRUNCATE public.t_", contestant.name)).status());
          if (contestant.before) {
            RETURN_IF_ERROR(session->Exec(contestant.before(tables++)).status());
          }
        }
        ASSIGN_OR_RETURN(const double rate,
                         Turn(*session, measurement.sql(contestant.name), measurement.ids,
                              absl::Milliseconds(settings.milliseconds)));
        if (contestant.name == kNative) native = rate;
        rates[contestant.name].push_back(rate);
        ratios[contestant.name].push_back(rate / native);
      }
    }
    const double native_at_best = Quantile(rates[kNative], kAtBest);
    for (const Contestant& contestant : contestants) {
      const std::vector<double>& all = rates[contestant.name];
      const double rate = Quantile(all, 0.5);
      const double of_native = Quantile(ratios[contestant.name], 0.5);
      const double at_best = Quantile(all, kAtBest) / native_at_best;
      std::printf("%-24s %-16s %14.0f %10.2f %9.0f%% %9.0f%%\n", measurement.name,
                  contestant.name.c_str(), rate, 1e6 / rate, of_native * 100, at_best * 100);
      figures->Add(measurement.name, contestant.name,
                   {{"ids_a_second", rate}, {"of_native", of_native}, {"at_best", at_best}});
    }
    std::fflush(stdout);
  }
  return absl::OkStatus();
}

}  // namespace bdr::bench
