// A reserve on its way through restarts, bursts and accidents, by the same steps that the agent
// carries out: every ordinal that is mapped at all is mapped to one number, and no number twice.
#include "node-agent/sequences/reserve.h"

#include <gmock/gmock.h>

#include <map>
#include <random>
#include <set>

namespace bdr::agent {
namespace {

using seqam::FindGallocKind;
using seqam::GallocKind;
using seqam::Piece;

// The database's registers and bdr-server's mark, as far as they matter here.
class World {
 public:
  explicit World(const char* type) : kind_(*FindGallocKind(type)), reserve_(kind_) {}

  Reserve& reserve() { return reserve_; }
  uint64_t drawn() const { return database_.drawn; }
  int64_t granted() const { return next_; }

  // The agent was started: it knows what the database has.
  void Start() { reserve_.Read(database_); }
  // PostgreSQL crashed: unlogged sequences are empty.
  void Crash() {
    database_.registers = {};
    database_.end.reset();
  }
  // Draws, and maps as bdr.galloc_wait() does. False if it would have to wait.
  bool Draw() {
    while (true) {
      const uint64_t ordinal = database_.drawn++;
      if (!database_.end.has_value() || ordinal >= static_cast<uint64_t>(*database_.end)) {
        return false;
      }
      for (const auto& packed : database_.registers) {
        if (!packed.has_value()) continue;
        const auto piece = UnpackPiece(kind_, *packed, static_cast<uint64_t>(*database_.end));
        if (!piece.has_value() || ordinal < piece->ordinal || ordinal >= piece->end(kind_))
          continue;
        const int64_t id = piece->id + static_cast<int64_t>(ordinal - piece->ordinal);
        EXPECT_TRUE(ids_.insert(id).second) << id << " was given out twice";
        return true;
      }
    }
  }
  void SetBack(uint64_t drawn) { database_.drawn = drawn; }
  // One step; false if there is nothing to do. With `fails` bdr-server does not answer, but may
  // have granted; `torn` is a kill -9 between its two writes.
  bool Step(absl::Time now, bool fails = false, bool torn = false) {
    reserve_.Drawn(database_.drawn, now);
    const int64_t left = (int64_t{1} << (kind_.id_bits + kind_.unit)) - next_;
    ReserveStep step = reserve_.Next(static_cast<uint64_t>(left));
    switch (step.kind) {
      case ReserveStep::Kind::kNone:
        return false;
      case ReserveStep::Kind::kClear:
        database_.registers = {};
        if (torn) return true;
        database_.end = static_cast<int64_t>(step.end);
        break;
      case ReserveStep::Kind::kCopy:
        database_.registers[0] = PackPiece(kind_, step.piece);
        break;
      case ReserveStep::Kind::kFill:
        if (static_cast<int64_t>(step.piece.count(kind_)) > left) return false;
        step.piece.id = next_;
        next_ += static_cast<int64_t>(step.piece.count(kind_));
        if (fails) return true;
        database_.registers[step.at] = PackPiece(kind_, step.piece);
        if (torn) return true;
        database_.end = static_cast<int64_t>(step.end);
        break;
    }
    reserve_.Done(step);
    return true;
  }
  void Fill(absl::Time now) {
    for (int i = 0; i < 100 && Step(now); ++i) {
    }
  }

 private:
  const GallocKind kind_;
  Reserve reserve_;
  RegistersRead database_;
  int64_t next_ = 1024;
  std::set<int64_t> ids_;
};

TEST(ReserveTest, FourChunksAreReadyBeforeAnybodyDraws) {
  World world("bigint");
  world.Start();
  world.Fill(absl::UnixEpoch());
  EXPECT_EQ(world.reserve().left(), 4 * 16384u);
  for (int i = 0; i < 4 * 16384; ++i) ASSERT_TRUE(world.Draw()) << i;
  EXPECT_FALSE(world.Draw()) << "nobody filled it again";
}

TEST(ReserveTest, ChunksGrowToAMinutesNeedAndFallBack) {
  World world("bigint");
  world.Start();
  absl::Time now = absl::UnixEpoch();
  world.Fill(now);
  for (int tick = 0; tick < 200; ++tick) {
    for (int i = 0; i < 12500; ++i) ASSERT_TRUE(world.Draw()) << "waited at tick " << tick;
    now += absl::Milliseconds(250);
    world.Fill(now);
  }
  EXPECT_GE(world.reserve().left(), 50000 * 60u);
  EXPECT_LE(world.reserve().left(), 50000u * 3600);
  EXPECT_NEAR(world.reserve().per_second(), 50000, 1000);
}

TEST(ReserveTest, SmallTypesGetSmallChunks) {
  World world("smallint");
  world.Start();
  world.Fill(absl::UnixEpoch());
  EXPECT_EQ(world.reserve().left(), 16u);
}

TEST(ReserveTest, ACrashOfPostgresLosesTheReserveAndGivesNothingTwice) {
  World world("integer");
  world.Start();
  world.Fill(absl::UnixEpoch());
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(world.Draw());
  world.Crash();
  EXPECT_FALSE(world.Draw());
  world.Start();
  world.Fill(absl::UnixEpoch());
  EXPECT_TRUE(world.Draw());
}

TEST(ReserveTest, ASequenceThatWasSetBackGetsNewNumbers) {
  World world("integer");
  world.Start();
  absl::Time now = absl::UnixEpoch();
  world.Fill(now);
  for (int i = 0; i < 50000; ++i) {
    ASSERT_TRUE(world.Draw());
    if (i % 1000 == 0) world.Fill(now += absl::Seconds(1));
  }
  world.SetBack(5);
  EXPECT_TRUE(world.Step(now)) << "noticed";
  world.Fill(now);
  for (int i = 0; i < 10000; ++i) {
    ASSERT_TRUE(world.Draw()) << i;
    if (i % 50 == 0) world.Fill(now);
  }
}

TEST(ReserveTest, WhoeverDrawsWithoutTheMethodDoesNotStopIt) {
  World world("integer");
  world.Start();
  world.Fill(absl::UnixEpoch());
  world.SetBack(world.drawn() + (1 << 22));  // by nextval() itself
  world.Fill(absl::UnixEpoch());
  EXPECT_TRUE(world.Draw());
}

// Random schedules of draws, restarts, crashes, lost answers and half-written steps.
TEST(ReserveTest, NoNumberIsGivenOutTwiceWhateverHappens) {
  for (unsigned seed = 1; seed <= 300; ++seed) {
    std::mt19937_64 random(seed);
    const char* const types[] = {"smallint", "integer", "bigint"};
    World world(types[seed % 3]);
    world.Start();
    absl::Time now = absl::UnixEpoch();
    for (int i = 0; i < 400; ++i) {
      now += absl::Milliseconds(static_cast<int64_t>(random() % 500));
      switch (random() % 12) {
        case 0:
          world.Crash();
          world.Start();
          break;
        case 1:
          world.Start();
          break;
        case 2:
          world.Step(now, /*fails=*/true);
          break;
        case 3:
          world.Step(now, false, /*torn=*/true);
          world.Start();
          break;
        case 4:
          world.Fill(now);
          break;
        case 5:
          if (random() % 8 == 0) world.SetBack(world.drawn() + random() % (1 << 21));
          break;
        default:
          for (uint64_t n = random() % 300; n > 0; --n) world.Draw();
          world.Step(now);
      }
    }
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace bdr::agent
