// Every recipe of docs/schema-changes.md, as it stands there, while users write on all nodes.
//
// A section of the page is a recipe. Comments in it, which no reader sees, say what the test needs:
// `<!-- table: SQL -->` makes the tables on every node, `<!-- load: SQL -->` is what users run all
// the while ({} is a number of their own), `<!-- check: SQL -->` must be true on every node at the
// end, `<!-- wait: SQL -->` has to become true on every node before the next step. Its blocks are
// the steps: ```sql n1, ```sql n2, ```sql every node, and ```sh with bdrctl.
#include <atomic>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "tests/integration/cluster_fixture.h"

namespace bdr::integration {
namespace {

// Of a user between two transactions: recipes are tried, and not how fast they are.
constexpr absl::Duration kPause = absl::Milliseconds(20);

struct Step {
  std::string where;  // n1, n2, every node; "wait" for something; empty: bdrctl
  std::string what;
};

struct Recipe {
  std::string title;
  std::string table;
  std::string load;
  std::string check;
  std::vector<Step> steps;
};

std::vector<Recipe> ReadPage() {
  std::ifstream file(BDR_SOURCE_DIR "/docs/schema-changes.md");
  std::stringstream page;
  page << file.rdbuf();
  std::vector<Recipe> recipes;
  Recipe* recipe = nullptr;
  Step* step = nullptr;
  std::string* comment = nullptr;
  const auto add = [](absl::string_view line, std::string* to) {
    absl::StrAppend(to, to->empty() ? "" : "\n", line);
  };
  for (absl::string_view line : absl::StrSplit(page.str(), '\n')) {
    if (step != nullptr) {
      if (line == "```") {
        step = nullptr;
      } else {
        add(line, &step->what);
      }
    } else if (comment != nullptr) {
      const bool last = absl::ConsumeSuffix(&line, "-->");
      add(line, comment);
      if (last) comment = nullptr;
    } else if (absl::ConsumePrefix(&line, "## ")) {
      recipe = &recipes.emplace_back();
      recipe->title = std::string(line);
    } else if (recipe == nullptr) {
      continue;
    } else if (absl::ConsumePrefix(&line, "```")) {
      step = &recipe->steps.emplace_back();
      if (absl::ConsumePrefix(&line, "sql ")) step->where = std::string(line);
    } else {
      if (absl::StartsWith(line, "<!-- wait: ")) {
        recipe->steps.push_back({.where = "wait", .what = ""});
      }
      std::string none;
      std::string* wait = recipe->steps.empty() ? &none : &recipe->steps.back().what;
      for (const auto& [mark, text] :
           {std::pair{"<!-- table: ", &recipe->table}, std::pair{"<!-- load: ", &recipe->load},
            std::pair{"<!-- check: ", &recipe->check}, std::pair{"<!-- wait: ", wait}}) {
        if (!absl::ConsumePrefix(&line, mark)) continue;
        const bool last = absl::ConsumeSuffix(&line, "-->");
        add(line, text);
        if (!last) comment = text;
      }
    }
  }
  std::erase_if(recipes, [](const Recipe& one) { return one.steps.empty(); });
  return recipes;
}

// Users who run the same statement on every node, one after the other.
class Users {
 public:
  Users(harness::Cluster* cluster, std::string load) : load_(std::move(load)) {
    int64_t first = 0;
    for (const std::string& node : cluster->names()) {
      first += 1'000'000;
      written_.push_back(std::make_unique<std::atomic<int64_t>>(0));
      threads_.emplace_back([this, cluster, node, first, written = written_.back().get()] {
        const auto connection = cluster->Connect(node);
        for (int64_t i = 0; connection.ok() && !stop_; ++i) {
          const std::string sql = absl::StrReplaceAll(load_, {{"{}", absl::StrCat(first + i)}});
          const absl::Status status = (*connection)->Exec(sql).status();
          absl::SleepFor(kPause);
          MutexLock lock(&mu_);
          if (status.ok()) {
            ++*written;
          } else if (error_.ok()) {
            error_ = absl::Status(status.code(),
                                  absl::StrCat("on ", node, ": ", status.message(), ": ", sql));
          }
        }
      });
    }
  }
  ~Users() { Stop(); }

  // On each node some transactions begin and end from here on.
  absl::Status WaitForSome() {
    std::vector<int64_t> until;
    for (const auto& written : written_) until.push_back(*written + 5);
    return harness::WaitFor("users write", kDeadline, [&]() -> absl::StatusOr<bool> {
      RETURN_IF_ERROR(error());
      for (size_t i = 0; i < until.size(); ++i) {
        if (*written_[i] < until[i]) return false;
      }
      return true;
    });
  }

  void Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  absl::Status error() {
    MutexLock lock(&mu_);
    return error_;
  }

 private:
  const std::string load_;
  std::atomic<bool> stop_{false};
  std::vector<std::unique_ptr<std::atomic<int64_t>>> written_;
  std::vector<std::thread> threads_;
  Mutex mu_;
  absl::Status error_ ABSL_GUARDED_BY(mu_);
};

class SchemaChangesTest : public ClusterTest {
 protected:
  absl::Status Run(const Step& step) {
    if (step.where == "every node") return cluster_->ExecEverywhere(step.what);
    if (step.where == "wait") {
      for (const std::string& node : cluster_->names()) {
        RETURN_IF_ERROR(cluster_->WaitForValue(node, step.what, "t", kDeadline));
      }
      return absl::OkStatus();
    }
    if (!step.where.empty()) return cluster_->Exec(step.where, step.what);
    for (absl::string_view line : absl::StrSplit(step.what, '\n')) {
      std::vector<std::string> words = absl::StrSplit(line, ' ');
      if (words.front() != "bdrctl") return absl::InvalidArgumentError("no bdrctl");
      words.erase(words.begin());
      ASSIGN_OR_RETURN(const harness::ProgramResult result, cluster_->Bdrctl(words));
      if (result.exit_code != 0) {
        return absl::InternalError(absl::StrCat(line, ": ", result.out, result.err));
      }
    }
    return absl::OkStatus();
  }

  void Follow(const Recipe& recipe) {
    ASSERT_FALSE(recipe.table.empty()) << "what does it need?";
    ASSERT_OK(cluster_->ExecEverywhere(recipe.table + "; SELECT bdr.sync_publications()"));
    Users users(cluster_.get(), recipe.load);
    ASSERT_OK(users.WaitForSome());
    for (const Step& step : recipe.steps) {
      ASSERT_OK(Run(step)) << step.what;
      ASSERT_OK(users.WaitForSome()) << "after " << step.what;
    }
    users.Stop();
    ASSERT_OK(users.error());
    BDR_CONVERGE();
    ASSERT_OK(cluster_->WaitUntilHealthy(kDeadline));
    if (!recipe.check.empty()) ExpectEverywhere(recipe.check, "t");
  }
};

TEST_F(SchemaChangesTest, EveryRecipeOfThePageWorksWhileUsersWrite) {
  const std::vector<Recipe> recipes = ReadPage();
  ASSERT_GE(recipes.size(), 20u);
  BDR_START_CLUSTER(2, "");
  for (const Recipe& recipe : recipes) {
    SCOPED_TRACE(recipe.title);
    ASSERT_NO_FATAL_FAILURE(Follow(recipe));
  }
}

}  // namespace
}  // namespace bdr::integration
