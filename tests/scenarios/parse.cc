// In two passes: lines to blocks (a line at the margin, and what is indented below it), and each
// block to what it says.
#include "tests/scenarios/parse.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/status_macros.h"

namespace bdr::scenarios {
namespace {

constexpr absl::string_view kArrow = "=>";

// A line at the margin with what belongs to it.
struct Block {
  int line = 0;
  std::string text;                 // the line at the margin
  std::string head;                 // up to the first ": ", or all of it
  std::string rest;                 // behind that
  std::vector<std::string> words;   // of the head
  std::vector<std::string> below;   // what is indented, with what is indented further joined to it
  std::vector<int> lines_of_below;  // where each begins
};

absl::Status Wrong(const std::string& what) { return absl::InvalidArgumentError(what); }

// Words between blanks, where "double quotes" keep some together.
absl::StatusOr<std::vector<std::string>> WordsOf(absl::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool begun = false;
  bool quoted = false;
  for (const char c : text) {
    if (c == '"') {
      quoted = !quoted;
      begun = true;
    } else if (!quoted && absl::ascii_isspace(static_cast<unsigned char>(c))) {
      if (begun) words.push_back(std::exchange(word, ""));
      begun = false;
    } else {
      word.push_back(c);
      begun = true;
    }
  }
  if (quoted) return Wrong("a double quote is not closed");
  if (begun) words.push_back(word);
  return words;
}

size_t IndentOf(absl::string_view line) {
  return static_cast<size_t>(
      std::find_if(line.begin(), line.end(), [](char c) { return c != ' '; }) - line.begin());
}

void BeginBlock(int line, absl::string_view text, std::vector<Block>* blocks) {
  Block block;
  block.line = line;
  block.text = std::string(text);
  const size_t colon = text.find(": ");
  block.head = std::string(absl::StripSuffix(text.substr(0, colon), ":"));
  if (colon != absl::string_view::npos) {
    block.rest = std::string(absl::StripAsciiWhitespace(text.substr(colon + 2)));
  }
  block.words = absl::StrSplit(block.head, absl::ByAnyChar(" ,"), absl::SkipEmpty());
  blocks->push_back(std::move(block));
}

// Errors as Parse().
absl::StatusOr<std::vector<Block>> BlocksOf(const std::string& file, absl::string_view text) {
  std::vector<Block> blocks;
  size_t indent = 0;  // of the first line below the last block's margin
  int number = 0;
  const auto wrong = [&](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat(file, ":", number, ": ", what));
  };
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripTrailingAsciiWhitespace(line);
    const absl::string_view content = absl::StripLeadingAsciiWhitespace(line);
    if (content.empty() || content.front() == '#') continue;
    if (absl::StrContains(line.substr(0, line.size() - content.size()), '\t')) {
      return wrong("a tab at the beginning of a line: indent by blanks");
    }
    const size_t here = IndentOf(line);
    if (here == 0) {
      BeginBlock(number, line, &blocks);
      indent = 0;
      continue;
    }
    if (blocks.empty()) return wrong("an indented line that belongs to nothing");
    Block& block = blocks.back();
    if (indent == 0) indent = here;
    if (here < indent) {
      return wrong(
          absl::StrCat("indented by ", here, " blanks, and what stands above it by ", indent));
    }
    if (here == indent) {
      block.below.emplace_back(content);
      block.lines_of_below.push_back(number);
    } else {
      absl::StrAppend(&block.below.back(), "\n", content);
    }
  }
  return blocks;
}

class Parser {
 public:
  explicit Parser(std::string file) { scenario_.file = std::move(file); }

  absl::StatusOr<Scenario> Read(absl::string_view text) {
    ASSIGN_OR_RETURN(const std::vector<Block> blocks, BlocksOf(scenario_.file, text));
    for (const Block& block : blocks) {
      line_ = block.line;
      if (const absl::Status status = ReadBlock(block); !status.ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat(scenario_.file, ":", line_, ": ", status.message()));
      }
    }
    if (scenario_.steps.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(scenario_.file, ": nothing is done in it"));
    }
    return std::move(scenario_);
  }

 private:
  using Reader = absl::Status (Parser::*)(const Block&);

  absl::Status ReadBlock(const Block& block) {
    static const auto* const kReaders =
        new std::map<std::string, Reader, std::less<>>{{"nodes", &Parser::ReadNodes},
                                                       {"own", &Parser::ReadOwnClocks},
                                                       {"agent.yaml", &Parser::ReadYaml},
                                                       {"tables", &Parser::ReadTables},
                                                       {"on", &Parser::ReadOn},
                                                       {"as", &Parser::ReadAs},
                                                       {"refused", &Parser::ReadRefused},
                                                       {"expect", &Parser::ReadLook},
                                                       {"wait", &Parser::ReadWait},
                                                       {"converge", &Parser::ReadConverge},
                                                       {"healthy", &Parser::ReadHealthy},
                                                       {"heal", &Parser::ReadHeal},
                                                       {"cut", &Parser::ReadLink},
                                                       {"stall", &Parser::ReadLink},
                                                       {"mend", &Parser::ReadLink},
                                                       {"isolate", &Parser::ReadIsolate},
                                                       {"hold", &Parser::ReadCapture},
                                                       {"release", &Parser::ReadCapture},
                                                       {"stop", &Parser::ReadAgent},
                                                       {"kill", &Parser::ReadAgent},
                                                       {"pause", &Parser::ReadAgent},
                                                       {"resume", &Parser::ReadAgent},
                                                       {"start", &Parser::ReadAgent},
                                                       {"agent", &Parser::ReadAgentDies},
                                                       {"clock", &Parser::ReadClock},
                                                       {"policy", &Parser::ReadPolicy},
                                                       {"bdrctl", &Parser::ReadBdrctl},
                                                       {"logged", &Parser::ReadLogged},
                                                       {"metric", &Parser::ReadMetric},
                                                       {"captured", &Parser::ReadCaptured},
                                                       {"received", &Parser::ReadReceived}};
    const auto reader = kReaders->find(block.words.empty() ? "" : block.words[0]);
    if (reader == kReaders->end()) {
      return Wrong(absl::StrCat(
          "no line begins with \"", block.words.empty() ? block.text : block.words[0],
          "\"; there are: ",
          absl::StrJoin(*kReaders, ", ",
                        [](std::string* out, const auto& entry) { out->append(entry.first); })));
    }
    return (this->*reader->second)(block);
  }

  void Add(const Block& block, Action action) {
    scenario_.steps.push_back({line_, block.text, std::move(action)});
  }

  static absl::Status ExpectForm(const Block& block, bool right, absl::string_view form) {
    if (right) return absl::OkStatus();
    return Wrong(absl::StrCat("\"", block.text, "\" is not of the form \"", form, "\""));
  }
  static absl::Status NothingBelow(const Block& block) {
    if (block.below.empty() && block.rest.empty()) return absl::OkStatus();
    return Wrong(absl::StrCat("nothing may stand behind or below \"", block.head, "\""));
  }
  absl::Status BeforeSteps(const Block& block) const {
    if (scenario_.steps.empty()) return absl::OkStatus();
    return Wrong(absl::StrCat("\"", block.words[0], "\" stands before all steps"));
  }

  absl::StatusOr<std::string> Node(const std::string& name) const {
    int number = 0;
    if (absl::StartsWith(name, "n") && absl::SimpleAtoi(name.substr(1), &number) && number >= 1 &&
        number <= scenario_.nodes) {
      return name;
    }
    return Wrong(
        absl::StrCat("there is no node \"", name, "\": the scenario has n1 to n", scenario_.nodes));
  }
  std::vector<std::string> AllNodes() const {
    std::vector<std::string> nodes;
    for (int i = 1; i <= scenario_.nodes; ++i) nodes.push_back(absl::StrCat("n", i));
    return nodes;
  }
  // "everywhere", or names.
  absl::StatusOr<std::vector<std::string>> Nodes(std::vector<std::string> words) const {
    if (words == std::vector<std::string>{"everywhere"}) return AllNodes();
    if (words.empty()) return Wrong("no node is named: name some, or say \"everywhere\"");
    for (const std::string& word : words) RETURN_IF_ERROR(Node(word).status());
    return words;
  }
  static std::vector<std::string> Behind(const Block& block, size_t words) {
    return {block.words.begin() + static_cast<ptrdiff_t>(std::min(words, block.words.size())),
            block.words.end()};
  }

  // What stands behind the colon, and each of what stands below.
  static absl::StatusOr<std::vector<std::string>> Items(const Block& block) {
    std::vector<std::string> items;
    if (!block.rest.empty()) items.push_back(block.rest);
    items.insert(items.end(), block.below.begin(), block.below.end());
    if (items.empty()) return Wrong("nothing stands behind a colon, nor indented below");
    return items;
  }

  // A query, and what stands behind the arrows.
  static absl::Status SplitAtArrows(const Block& block, std::string* sql,
                                    std::vector<std::string>* values) {
    ASSIGN_OR_RETURN(const std::vector<std::string> items, Items(block));
    for (const std::string& item : items) {
      absl::string_view value = item;
      if (absl::ConsumePrefix(&value, kArrow)) {
        values->emplace_back(absl::StripLeadingAsciiWhitespace(value));
      } else if (!values->empty()) {
        return Wrong(absl::StrCat("SQL behind a line with \"=>\": ", item));
      } else {
        absl::StrAppend(sql, sql->empty() ? "" : "\n", item);
      }
    }
    const size_t arrow = sql->rfind(" =>");
    if (values->empty() && arrow != std::string::npos) {
      values->emplace_back(absl::StripAsciiWhitespace(sql->substr(arrow + 3)));
      sql->resize(arrow);
    }
    if (sql->empty()) return Wrong("there is no SQL");
    if (values->empty()) return Wrong("there is no \"=>\" with what it gives");
    return absl::OkStatus();
  }

  absl::Status ReadNodes(const Block& block) {
    RETURN_IF_ERROR(BeforeSteps(block));
    int number = 0;
    RETURN_IF_ERROR(ExpectForm(block,
                               block.words.size() == 2 &&
                                   absl::SimpleAtoi(block.words[1], &number) && number >= 1 &&
                                   number <= 9,
                               "nodes 1..9"));
    scenario_.nodes = number;
    return NothingBelow(block);
  }
  absl::Status ReadOwnClocks(const Block& block) {
    RETURN_IF_ERROR(BeforeSteps(block));
    RETURN_IF_ERROR(ExpectForm(block, block.head == "own clocks", "own clocks"));
    scenario_.own_clocks = true;
    return NothingBelow(block);
  }
  absl::Status ReadYaml(const Block& block) {
    RETURN_IF_ERROR(BeforeSteps(block));
    ASSIGN_OR_RETURN(const std::vector<std::string> items, Items(block));
    for (const std::string& item : items) absl::StrAppend(&scenario_.agent_config, item, "\n");
    return absl::OkStatus();
  }
  absl::Status ReadTables(const Block& block) {
    RETURN_IF_ERROR(BeforeSteps(block));
    ASSIGN_OR_RETURN(const std::vector<std::string> items, Items(block));
    for (const std::string& item : items) {
      absl::StrAppend(&scenario_.tables, absl::StripSuffix(item, ";"), ";\n");
    }
    return absl::OkStatus();
  }

  absl::Status ReadOn(const Block& block) {
    RunSql run;
    ASSIGN_OR_RETURN(run.nodes, Nodes(Behind(block, 1)));
    ASSIGN_OR_RETURN(run.statements, Items(block));
    Add(block, std::move(run));
    return absl::OkStatus();
  }
  absl::Status ReadAs(const Block& block) {
    RunSql run;
    RETURN_IF_ERROR(ExpectForm(block, block.words.size() == 4 && block.words[2] == "on",
                               "as USER on NODE: SQL"));
    ASSIGN_OR_RETURN(run.nodes, Nodes(Behind(block, 3)));
    run.session = block.words[1];
    ASSIGN_OR_RETURN(run.statements, Items(block));
    Add(block, std::move(run));
    return absl::OkStatus();
  }
  absl::Status ReadRefused(const Block& block) {
    Refused refused;
    std::vector<std::string> texts;
    ASSIGN_OR_RETURN(refused.nodes, Nodes(Behind(block, 1)));
    RETURN_IF_ERROR(SplitAtArrows(block, &refused.sql, &texts));
    RETURN_IF_ERROR(ExpectForm(block, texts.size() == 1 && !texts[0].empty(),
                               "refused NODES: SQL => a part of the error"));
    refused.text = texts[0];
    Add(block, std::move(refused));
    return absl::OkStatus();
  }
  absl::Status ReadLook(const Block& block) {
    Look look;
    look.wait = block.words[0] == "wait";
    std::vector<std::string> words = Behind(block, 1);
    if (words.size() > 2 && words.back() == "times") {
      if (look.wait || !absl::SimpleAtoi(words[words.size() - 2], &look.times) || look.times < 1) {
        return Wrong("\"times\" needs a number before it, and stands with \"expect\" alone");
      }
      words.resize(words.size() - 2);
    }
    ASSIGN_OR_RETURN(look.nodes, Nodes(std::move(words)));
    RETURN_IF_ERROR(SplitAtArrows(block, &look.sql, &look.rows));
    if (look.rows == std::vector<std::string>{"no rows"}) look.rows.clear();
    Add(block, std::move(look));
    return absl::OkStatus();
  }
  absl::Status ReadWait(const Block& block) {
    return block.words.size() > 1 && block.words[1] == "bdrctl" ? ReadBdrctl(block)
                                                                : ReadLook(block);
  }
  absl::Status ReadConverge(const Block& block) {
    RETURN_IF_ERROR(ExpectForm(block, block.head == "converge", "converge"));
    Add(block, Converge{});
    return NothingBelow(block);
  }
  absl::Status ReadHealthy(const Block& block) {
    RETURN_IF_ERROR(ExpectForm(block, block.head == "healthy", "healthy"));
    Add(block, Healthy{});
    return NothingBelow(block);
  }
  absl::Status ReadHeal(const Block& block) {
    RETURN_IF_ERROR(ExpectForm(block, block.head == "heal", "heal"));
    Add(block, Heal{});
    return NothingBelow(block);
  }

  absl::Status ReadLink(const Block& block) {
    static const auto* const kFaults = new std::map<std::string, Link::Fault>{
        {"cut", Link::Fault::kCut}, {"stall", Link::Fault::kStall}, {"mend", Link::Fault::kNone}};
    Link link{.fault = kFaults->at(block.words[0]), .ways = {}};
    std::vector<std::string> words = Behind(block, 1);
    const bool one_way = words.size() == 3 && words[1] == "->";
    if (one_way) words.erase(words.begin() + 1);
    RETURN_IF_ERROR(ExpectForm(
        block, words.size() == 2 && words[0] != words[1],
        absl::StrCat(block.words[0], " NODE NODE\" or \"", block.words[0], " NODE -> NODE")));
    RETURN_IF_ERROR(Nodes(words).status());
    link.ways.emplace_back(words[0], words[1]);
    if (!one_way) link.ways.emplace_back(words[1], words[0]);
    Add(block, std::move(link));
    return NothingBelow(block);
  }
  absl::Status ReadIsolate(const Block& block) {
    Link link{.fault = Link::Fault::kCut, .ways = {}};
    RETURN_IF_ERROR(ExpectForm(block, block.words.size() == 2, "isolate NODE"));
    ASSIGN_OR_RETURN(const std::string node, Node(block.words[1]));
    for (const std::string& other : AllNodes()) {
      if (other == node) continue;
      link.ways.emplace_back(node, other);
      link.ways.emplace_back(other, node);
    }
    Add(block, std::move(link));
    return NothingBelow(block);
  }
  absl::Status ReadCapture(const Block& block) {
    RETURN_IF_ERROR(ExpectForm(block, block.words.size() == 3 && block.words[1] == "capture",
                               absl::StrCat(block.words[0], " capture NODE")));
    ASSIGN_OR_RETURN(const std::string node, Node(block.words[2]));
    Add(block, HoldCapture{.node = node, .hold = block.words[0] == "hold"});
    return NothingBelow(block);
  }
  absl::Status ReadAgent(const Block& block) {
    static const auto* const kDeeds =
        new std::map<std::string, Agent::Deed>{{"stop", Agent::Deed::kStop},
                                               {"kill", Agent::Deed::kKill},
                                               {"pause", Agent::Deed::kPause},
                                               {"resume", Agent::Deed::kResume},
                                               {"start", Agent::Deed::kStart}};
    Agent agent{.deed = kDeeds->at(block.words[0]), .node = {}, .fail_point = {}};
    const std::vector<std::string> more = Behind(block, 3);
    const bool dies = agent.deed == Agent::Deed::kStart && more.size() == 4 && more[0] == "to" &&
                      more[1] == "die" && more[2] == "at";
    RETURN_IF_ERROR(ExpectForm(
        block, block.words.size() >= 3 && block.words[1] == "agent" && (more.empty() || dies),
        agent.deed == Agent::Deed::kStart ? "start agent NODE [to die at FAIL_POINT]"
                                          : absl::StrCat(block.words[0], " agent NODE")));
    ASSIGN_OR_RETURN(agent.node, Node(block.words[2]));
    if (dies) {
      agent.fail_point = more[3];
      scenario_.needs_hooks = true;
    }
    Add(block, std::move(agent));
    return NothingBelow(block);
  }
  absl::Status ReadAgentDies(const Block& block) {
    RETURN_IF_ERROR(
        ExpectForm(block, block.words.size() == 3 && block.words[2] == "dies", "agent NODE dies"));
    ASSIGN_OR_RETURN(const std::string node, Node(block.words[1]));
    Add(block, Agent{.deed = Agent::Deed::kDies, .node = node, .fail_point = {}});
    return NothingBelow(block);
  }
  absl::Status ReadClock(const Block& block) {
    SetClock clock;
    RETURN_IF_ERROR(ExpectForm(block,
                               block.words.size() == 2 && block.below.empty() &&
                                   absl::ParseDuration(block.rest, &clock.ahead),
                               "clock NODE: how far ahead, as in 300ms, -5s, 0"));
    if (!scenario_.own_clocks) return Wrong("a clock is set, and no line says \"own clocks\"");
    ASSIGN_OR_RETURN(clock.node, Node(block.words[1]));
    Add(block, std::move(clock));
    return absl::OkStatus();
  }

  absl::Status ReadPolicy(const Block& block) {
    Bdrctl call;
    ASSIGN_OR_RETURN(const std::vector<std::string> words, WordsOf(block.text));
    RETURN_IF_ERROR(
        ExpectForm(block, words.size() >= 3, "policy SCHEMA.TABLE POLICY [options of bdrctl]"));
    call.arguments = {"table", "set-policy"};
    call.arguments.insert(call.arguments.end(), words.begin() + 1, words.end());
    call.arguments.insert(call.arguments.end(), {"--wait", "60", "-o", "json"});
    call.exit_code = 0;
    call.says = {"\"in_force\": true"};
    Add(block, std::move(call));
    return NothingBelow(block);
  }
  absl::Status ReadBdrctl(const Block& block) {
    Bdrctl call;
    ASSIGN_OR_RETURN(call.arguments, WordsOf(block.text));
    call.wait = call.arguments[0] == "wait";
    if (!call.wait) call.exit_code = 0;
    call.arguments.erase(call.arguments.begin(), call.arguments.begin() + (call.wait ? 2 : 1));
    for (size_t i = 0; i < block.below.size(); ++i) {
      line_ = block.lines_of_below[i];
      absl::string_view text = block.below[i];
      if (absl::ConsumePrefix(&text, "says ")) {
        call.says.emplace_back(absl::StripAsciiWhitespace(text));
      } else if (int code = 0;
                 absl::ConsumePrefix(&text, "exits ") && absl::SimpleAtoi(text, &code)) {
        call.exit_code = code;
      } else {
        return Wrong(absl::StrCat(
            "below \"bdrctl\" stands \"says TEXT\" or \"exits NUMBER\", not: ", block.below[i]));
      }
    }
    line_ = block.line;
    Add(block, std::move(call));
    return absl::OkStatus();
  }

  absl::Status ReadLogged(const Block& block) {
    ASSIGN_OR_RETURN(const std::vector<std::string> nodes, Nodes(Behind(block, 1)));
    ASSIGN_OR_RETURN(const std::vector<std::string> items, Items(block));
    const size_t behind = items.size() - block.below.size();  // stands on the line at the margin
    for (size_t i = 0; i < items.size(); ++i) {
      const std::string& item = items[i];
      line_ = i < behind ? block.line : block.lines_of_below[i - behind];
      Logged logged;
      logged.nodes = nodes;
      logged.nothing = item == "nothing";
      if (!logged.nothing) RETURN_IF_ERROR(ReadEntry(item, &logged));
      Add(block, std::move(logged));
    }
    return absl::OkStatus();
  }
  static absl::Status ReadEntry(const std::string& item, Logged* logged) {
    ASSIGN_OR_RETURN(const std::vector<std::string> words, WordsOf(item));
    if (words.size() < 2 || absl::StrContains(words[0], '=') || !absl::StrContains(words[1], '.')) {
      return Wrong(
          absl::StrCat("an entry is \"KIND SCHEMA.TABLE [COLUMN=VALUE ...]\" or "
                       "\"nothing\", not: ",
                       item));
    }
    logged->kind = words[0];
    logged->relation = words[1];
    for (size_t i = 2; i < words.size(); ++i) {
      const std::pair<std::string, std::string> field =
          absl::StrSplit(words[i], absl::MaxSplits('=', 1));
      const auto& [name, value] = field;
      if (!absl::StrContains(words[i], '=')) {
        return Wrong(absl::StrCat("\"", words[i], "\" is not of the form COLUMN=VALUE"));
      }
      if (name == "has") {
        logged->present.push_back(value);
      } else if (name == "lacks") {
        logged->absent.push_back(value);
      } else if (name == "older") {
        if (value != "local" && value != "remote") return Wrong("older= is local or remote");
        logged->older = value;
      } else if (name == "count") {
        int count = 0;
        if (!absl::SimpleAtoi(value, &count) || count < 0) {
          return Wrong(absl::StrCat("\"", words[i], "\" is no number of entries"));
        }
        logged->count = count;
      } else {
        logged->fields.push_back({name, value});
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadMetric(const Block& block) {
    Metric metric;
    constexpr absl::string_view kForm =
        "metric NODE: NAME{LABEL=VALUE,...} >= NUMBER (or <=, or =)";
    RETURN_IF_ERROR(ExpectForm(block, block.words.size() == 2 && block.below.empty(), kForm));
    ASSIGN_OR_RETURN(metric.node, Node(block.words[1]));
    const std::vector<std::string> words = absl::StrSplit(block.rest, ' ', absl::SkipEmpty());
    RETURN_IF_ERROR(ExpectForm(block,
                               words.size() == 3 && absl::SimpleAtod(words[2], &metric.value) &&
                                   (words[1] == ">=" || words[1] == "<=" || words[1] == "="),
                               kForm));
    metric.comparison = words[1];
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(words[0], absl::MaxSplits('{', 1));
    metric.name = parts.first;
    for (const absl::string_view label :
         absl::StrSplit(absl::StripSuffix(parts.second, "}"), ',', absl::SkipEmpty())) {
      const std::pair<std::string, std::string> pair =
          absl::StrSplit(label, absl::MaxSplits('=', 1));
      metric.labels.push_back(pair);
    }
    Add(block, std::move(metric));
    return absl::OkStatus();
  }
  absl::Status ReadCaptured(const Block& block) {
    RETURN_IF_ERROR(ExpectForm(block, block.words.size() == 2, "captured NODE"));
    ASSIGN_OR_RETURN(const std::string node, Node(block.words[1]));
    Add(block, Captured{node});
    return NothingBelow(block);
  }
  absl::Status ReadReceived(const Block& block) {
    RETURN_IF_ERROR(ExpectForm(block, block.words.size() == 4 && block.words[2] == "->",
                               "received NODE -> NODE"));
    ASSIGN_OR_RETURN(const std::string from, Node(block.words[1]));
    ASSIGN_OR_RETURN(const std::string to, Node(block.words[3]));
    Add(block, Received{from, to});
    return NothingBelow(block);
  }

  Scenario scenario_;
  int line_ = 0;  // that is being read
};

}  // namespace

absl::StatusOr<Scenario> Parse(const std::string& file, absl::string_view text) {
  return Parser(file).Read(text);
}

}  // namespace bdr::scenarios
