#include "tests/chaos/stories.h"

#include <chrono>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "tests/harness/temp_folder.h"

namespace bdr::chaos {
namespace {

const char kInsertOld[] = "INSERT INTO story VALUES (1, 'old')";
const char kValueOfOne[] = "SELECT coalesce((SELECT v FROM story WHERE id = 1), 'none')";

// Row 1 is on all nodes.
absl::Status Begin(const Stage& stage) {
  RETURN_IF_ERROR(stage.Exec("n1", "INSERT INTO story VALUES (1, 'begin'), (100, 'begin')"));
  return stage.cluster().WaitUntilConverged(absl::Seconds(60));
}

// n1's clock is ahead of the others', by less than what is refused.
absl::Status ClockWait(const Stage& stage) {
  harness::FakeClock& ahead = stage.cluster().clock("n1");
  ahead.Set(absl::Milliseconds(450));
  absl::Status found;
  absl::Status done;
  // What such a clock stamps the others must not show yet.
  for (int i = 0; i < 20 && found.ok() && done.ok(); ++i) {
    const std::string id = absl::StrCat(1000 + i);
    done = stage.Exec("n1", absl::StrCat("INSERT INTO story VALUES (", id, ", 'ahead')"));
    if (!done.ok()) break;
    done = stage.WaitUntil("the row arrives", [&]() -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(
          const std::string shown,
          stage.cluster().QueryValue(
              "n2", absl::StrCat("SELECT coalesce((SELECT CASE WHEN pg_xact_commit_timestamp(xmin)"
                                 " > clock_timestamp() THEN 'early' ELSE 'in time' END "
                                 "FROM story WHERE id = ",
                                 id, "), '')")));
      if (shown == "early") found = stage.Found("n2 shows a row from the future of its clock");
      return !shown.empty();
    });
  }
  ahead.Set(absl::ZeroDuration());
  RETURN_IF_ERROR(done);
  RETURN_IF_ERROR(found);
  return stage.HealAndConverge();
}

// Nothing shows a delete to whoever comes before it was captured.
absl::Status DeleteUncaptured(const Stage& stage) {
  stage.cluster().Partition("n1", "n2");
  RETURN_IF_ERROR(stage.PauseCapture("n2"));
  RETURN_IF_ERROR(stage.Exec("n2", kInsertOld));
  RETURN_IF_ERROR(stage.Exec("n1", "INSERT INTO story VALUES (1, 'n1')"));
  RETURN_IF_ERROR(stage.Exec("n2", "DELETE FROM story WHERE id = 1"));
  stage.cluster().Heal();
  return stage.WaitForValue("n2", kValueOfOne, "n1");
}

absl::Status OwnMerge(const Stage& stage) {
  RETURN_IF_ERROR(DeleteUncaptured(stage));
  RETURN_IF_ERROR(stage.ResumeCapture("n2"));
  return stage.HealAndConverge();
}

// The agent dies before it sees the delete, and with it the knowledge that it had applied something
// to that row.
absl::Status OwnMergeRestart(const Stage& stage) {
  RETURN_IF_ERROR(DeleteUncaptured(stage));
  stage.cluster().agent("n2").Kill9();
  RETURN_IF_ERROR(stage.ResumeCapture("n2"));
  RETURN_IF_ERROR(stage.cluster().StartAgent("n2"));
  return stage.HealAndConverge();
}

// An insert that is older than the delete of its key comes after it.
absl::Status Tombstones(const Stage& stage) {
  stage.cluster().Partition("n1", "n2");
  stage.cluster().Partition("n1", "n3");
  RETURN_IF_ERROR(stage.Exec("n2", kInsertOld));
  RETURN_IF_ERROR(stage.Exec("n1", "INSERT INTO story VALUES (1, 'n1')"));
  RETURN_IF_ERROR(stage.Exec("n2", "DELETE FROM story WHERE id = 1"));
  RETURN_IF_ERROR(stage.WaitUntilCaptured("n2"));
  RETURN_IF_ERROR(stage.WaitUntilCaptured("n1"));
  return stage.HealAndConverge();
}

absl::Status FreezeAll(const Stage& stage, const std::string& node) {
  RETURN_IF_ERROR(
      stage.Exec(node, "UPDATE pg_database SET datallowconn = true WHERE datname = 'template0'"));
  for (const char* database : {"template0", "template1", "postgres", "app"}) {
    RETURN_IF_ERROR(stage.cluster().postgres(node).RunScript("VACUUM FREEZE", database));
  }
  return absl::OkStatus();
}

// A row that was written seconds ago has no commit time any more: all databases were frozen.
absl::Status NullTime(const Stage& stage) {
  RETURN_IF_ERROR(Begin(stage));
  stage.cluster().Partition("n1", "n2");
  RETURN_IF_ERROR(stage.Exec("n1", "UPDATE story SET v = 'older' WHERE id = 1"));
  RETURN_IF_ERROR(stage.Exec("n2", "UPDATE story SET v = 'newer' WHERE id = 1"));
  const absl::Status waited =
      stage.WaitUntil("commit times of n2 are gone", [&]() -> absl::StatusOr<bool> {
        // The slot holds back what may be forgotten until it has moved on.
        RETURN_IF_ERROR(stage.WaitUntilCaptured("n2"));
        RETURN_IF_ERROR(stage.Exec("n2", "CHECKPOINT"));
        RETURN_IF_ERROR(FreezeAll(stage, "n2"));
        ASSIGN_OR_RETURN(
            const std::string gone,
            stage.cluster().QueryValue("n2",
                                       "SELECT pg_xact_commit_timestamp(xmin) IS NULL FROM story "
                                       "WHERE id = 1"));
        return gone == "t";
      });
  RETURN_IF_ERROR(waited);
  return stage.HealAndConverge();
}

// ALTER TABLE ... TYPE gives every row another xid, with the time of the ALTER.
absl::Status XidIsNoVersion(const Stage& stage) {
  RETURN_IF_ERROR(Begin(stage));
  stage.cluster().Partition("n1", "n2");
  RETURN_IF_ERROR(stage.Exec("n2", "UPDATE story SET v = 'early' WHERE id = 1"));
  RETURN_IF_ERROR(stage.Exec("n1", "UPDATE story SET v = 'late' WHERE id = 1"));
  RETURN_IF_ERROR(stage.Exec("n2", "ALTER TABLE story ALTER COLUMN v TYPE text USING v || ''"));
  return stage.HealAndConverge();
}

// The agent dies with transactions decoded that are not in its log yet.
absl::Status SyncBeforeConfirm(const Stage& stage) {
  harness::Cluster& cluster = stage.cluster();
  cluster.agent("n2").Kill9();
  RETURN_IF_ERROR(cluster.StartAgent("n2", {{"BDR_FAIL_POINT", "capture_before_sync:3"}}));
  int id = 2000;
  const absl::Status waited =
      stage.WaitUntil("the agent of n2 dies", [&]() -> absl::StatusOr<bool> {
        RETURN_IF_ERROR(
            stage.Exec("n2", absl::StrCat("INSERT INTO story VALUES (", ++id, ", 'n2')")));
        return !cluster.agent("n2").Running();
      });
  RETURN_IF_ERROR(waited);
  RETURN_IF_ERROR(cluster.StartAgent("n2"));
  return stage.HealAndConverge();
}

// The machine of n2's agent crashes when its newest transactions are seen elsewhere already. Its
// clock was set back, so their stamps were raised, and would be others if they were given anew.
absl::Status SyncBeforeShip(const Stage& stage) {
  harness::Cluster& cluster = stage.cluster();
  cluster.clock("n2").Set(absl::Milliseconds(-800));
  absl::Status played;
  for (int crash = 0; crash < 3 && played.ok(); ++crash) {
    const std::string id = absl::StrCat(3000 + crash);
    played = stage.Exec("n2", absl::StrCat("INSERT INTO story VALUES (", id, ", 'n2')"));
    if (played.ok()) {
      played =
          stage.WaitForValue("n1", absl::StrCat("SELECT count(*) FROM story WHERE id = ", id), "1");
    }
    if (played.ok()) played = cluster.CrashAgentMachine("n2").status();
    if (played.ok()) played = cluster.StartAgent("n2");
    if (played.ok()) played = stage.HealAndConverge();
  }
  cluster.clock("n2").Set(absl::ZeroDuration());
  RETURN_IF_ERROR(played);
  return stage.HealAndConverge();
}

// An agent that starts again with its clock set back must keep its word of before.
absl::Status PromiseDurable(const Stage& stage) {
  harness::Cluster& cluster = stage.cluster();
  RETURN_IF_ERROR(Begin(stage));
  // Idle, so that promises are all that is newer than the last stamp.
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  cluster.agent("n2").Kill9();
  cluster.clock("n2").Set(absl::Seconds(-1));
  const absl::Status written = stage.Exec("n2", "UPDATE story SET v = 'n2' WHERE id = 100");
  const absl::Status started = cluster.StartAgent("n2");
  absl::Status result;
  if (written.ok() && started.ok()) {
    result = stage.WaitUntil("the change of n2 arrives", [&]() -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(const std::string v,
                       cluster.QueryValue("n1", "SELECT v FROM story WHERE id = 100"));
      return v == "n2";
    });
  }
  cluster.clock("n2").Set(absl::ZeroDuration());
  RETURN_IF_ERROR(written);
  RETURN_IF_ERROR(started);
  RETURN_IF_ERROR(result);
  ASSIGN_OR_RETURN(const std::string log, harness::ReadFile(cluster.agent_log("n1")));
  if (absl::StrContains(log, "broke its promise")) {
    return stage.Found(
        "n1 was sent a stamp that n2 had promised not to give: it broke its promise");
  }
  return stage.HealAndConverge();
}

// n3 is about to insert for n1 when n2's delete of the same key, which is newer, comes by.
absl::Status KeysInFlight(const Stage& stage) {
  harness::Cluster& cluster = stage.cluster();
  RETURN_IF_ERROR(Begin(stage));
  cluster.Partition("n1", "n2");
  cluster.Partition("n2", "n3");
  RETURN_IF_ERROR(stage.Exec("n2", "INSERT INTO story VALUES (5, 'n2')"));
  // A lock would not do: apply lets go of all keys while it waits for a user's.
  RETURN_IF_ERROR(
      stage.Exec("n3",
                 "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM "
                 "pg_sleep(3); RETURN NEW; END';"
                 "CREATE TRIGGER slow BEFORE UPDATE ON story FOR EACH ROW WHEN (NEW.id = 100) "
                 "EXECUTE FUNCTION slow(); ALTER TABLE story ENABLE ALWAYS TRIGGER slow"));
  RETURN_IF_ERROR(stage.Exec("n1",
                             "BEGIN; UPDATE story SET v = 'n1' WHERE id = 100;"
                             "INSERT INTO story VALUES (5, 'n1'); COMMIT"));
  RETURN_IF_ERROR(stage.Exec("n2", "DELETE FROM story WHERE id = 5"));
  RETURN_IF_ERROR(stage.WaitForValue("n3",
                                     "SELECT count(*) FROM pg_stat_activity WHERE application_name "
                                     "LIKE 'bdr apply bdr_1_%' AND wait_event = 'PgSleep'",
                                     "1"));
  const std::string applied = "SELECT lsn FROM bdr.progress WHERE origin_node = 2";
  ASSIGN_OR_RETURN(const std::string before, cluster.QueryValue("n3", applied));
  cluster.Heal();
  cluster.Partition("n1", "n2");
  // With the rule it waits for n1's group, so nothing tells that it is there.
  const absl::Time until = absl::Now() + absl::Seconds(3);
  while (absl::Now() < until) {
    ASSIGN_OR_RETURN(const std::string now, cluster.QueryValue("n3", applied));
    if (now != before) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  RETURN_IF_ERROR(stage.HealAndConverge());
  return stage.Exec("n3", "DROP FUNCTION slow() CASCADE");
}

// n2 has received, and its machine crashes before anything of it is on disk.
absl::Status StableIsDurable(const Stage& stage) {
  harness::Cluster& cluster = stage.cluster();
  // What syncs the log of n2's agent asks PostgreSQL first.
  RETURN_IF_ERROR(cluster.postgres("n2").Pause());
  absl::Status written;
  for (int i = 0; i < 60 && written.ok(); ++i) {
    written = stage.Exec("n1", absl::StrCat("INSERT INTO story VALUES (", 4000 + i, ", 'n1')"));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // each a block of its own
  }
  const absl::StatusOr<int64_t> lost = cluster.CrashAgentMachine("n2");
  RETURN_IF_ERROR(cluster.postgres("n2").Resume());
  RETURN_IF_ERROR(written);
  RETURN_IF_ERROR(lost.status());
  RETURN_IF_ERROR(cluster.StartAgent("n2"));
  return stage.HealAndConverge();
}

absl::Status OldKey(const Stage& stage) {
  RETURN_IF_ERROR(Begin(stage));
  RETURN_IF_ERROR(stage.Exec("n1", "UPDATE story SET id = 2 WHERE id = 1"));
  return stage.HealAndConverge();
}

// A row that is written twice in one transaction, which is too large for one statement.
absl::Status OwnXid(const Stage& stage) {
  RETURN_IF_ERROR(stage.Exec("n1",
                             "BEGIN; INSERT INTO story VALUES (7, 'first');"
                             "INSERT INTO story_filler SELECT i, repeat(md5(i::text), 20) "
                             "FROM generate_series(1, 3000) AS i;"
                             "UPDATE story SET v = 'second' WHERE id = 7; COMMIT"));
  return stage.HealAndConverge();
}

// n2 answers what n1 wrote; n3 hears of the answer first.
absl::Status CausalOrder(const Stage& stage) {
  harness::Cluster& cluster = stage.cluster();
  cluster.Partition("n1", "n3");
  RETURN_IF_ERROR(stage.Exec("n1", "INSERT INTO story VALUES (8, 'question')"));
  RETURN_IF_ERROR(stage.WaitForValue("n2", "SELECT count(*) FROM story WHERE id = 8", "1"));
  RETURN_IF_ERROR(stage.Exec("n2", "INSERT INTO story VALUES (9, 'answer')"));
  absl::Status found;
  // n3 may get the question through n2 in time.
  const absl::Status waited = stage.WaitUntil("n3 shows the answer", [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(
        const std::string shown,
        cluster.QueryValue("n3",
                           "SELECT coalesce(string_agg(v, ' ' ORDER BY id), '') FROM story "
                           "WHERE id IN (8, 9)"));
    if (shown == "answer") found = stage.Found("n3 shows an answer without its question");
    return !shown.empty();
  });
  RETURN_IF_ERROR(waited);
  RETURN_IF_ERROR(found);
  return stage.HealAndConverge();
}

// n1 draws more than there is in one chunk.
absl::Status ChunkOnce(const Stage& stage) {
  const harness::Cluster& cluster = stage.cluster();
  std::vector<std::string> convert = {"sequence", "convert", "public.story_number_id_seq",
                                      "--method", "galloc"};
  convert = cluster.WithDatabases(std::move(convert));
  ASSIGN_OR_RETURN(const harness::ProgramResult converted, cluster.Bdrctl(convert));
  if (converted.exit_code != 0) {
    return absl::InternalError(absl::StrCat("cannot convert: ", converted.out, converted.err));
  }
  ASSIGN_OR_RETURN(const std::string again,
                   cluster.QueryValue("n1",
                                      "SELECT count(*) - count(DISTINCT id) FROM bdr.reserve("
                                      "'story_number_id_seq', 20000) AS id"));
  if (again != "0") return stage.Found(absl::StrCat("n1 gave out ", again, " numbers twice"));
  return stage.HealAndConverge();
}

}  // namespace

std::vector<Scenario> AllStories() {
  return {
      {"clock_wait", "a node whose clock is 450 ms ahead writes", "from the future", ClockWait},
      {"own_merge", "an older insert is applied before an own delete is captured", "story differs",
       OwnMerge},
      {"own_merge_restart", "the same, and the agent dies in between", "story differs",
       OwnMergeRestart},
      {"tombstones", "an insert arrives after the newer delete of its key", "story differs",
       Tombstones},
      {"null_time", "an older update meets a row whose commit time a freeze took", "story differs",
       NullTime},
      {"xid_is_no_version", "a newer update meets a row that ALTER TABLE rewrote", "story differs",
       XidIsNoVersion},
      {"sync_before_confirm", "an agent dies with blocks that are not in its log",
       "cannot resume capture", SyncBeforeConfirm},
      {"sync_before_ship", "an agent's machine crashes after its peers heard of a transaction",
       "histor", SyncBeforeShip},
      {"promise_durable", "an agent starts again with its clock set back by 1 s", "promise",
       PromiseDurable},
      {"keys_in_flight", "a delete overtakes an older insert that takes long", "story differs",
       KeysInFlight},
      {"stable_is_durable", "an agent's machine crashes with blocks received and not synced",
       "trimmed", StableIsDurable},
      {"old_key", "a row's key changes", "story differs", OldKey},
      {"own_xid", "a row is written twice in one large transaction", "story differs", OwnXid},
      {"causal_order", "an answer arrives before its question", "without its question",
       CausalOrder},
      {"chunk_once", "a node draws more than one chunk has", "numbers twice", ChunkOnce},
  };
}

}  // namespace bdr::chaos
