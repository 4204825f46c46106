#include "base/config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace bdr::config {
namespace {

// One value as it stands in the file.
struct Entry {
  YAML::Node node;
  int line = 0;
};
using Entries = std::map<std::string, Entry>;

absl::string_view TypeName(KeyType type) {
  switch (type) {
    case KeyType::kString:
      return "text";
    case KeyType::kPath:
      return "path";
    case KeyType::kBool:
      return "true or false";
    case KeyType::kInteger:
      return "number";
    case KeyType::kDuration:
      return "duration";
    case KeyType::kByteSize:
      return "size";
    case KeyType::kAddress:
      return "host:port";
    case KeyType::kAddressList:
      return "list of host:port";
  }
  return "";
}

std::string Where(absl::string_view file, int line) { return absl::StrCat(file, ":", line, ": "); }

std::vector<std::string> Names(const std::vector<Key>& keys) {
  std::vector<std::string> names;
  names.reserve(keys.size());
  for (const Key& key : keys) names.push_back(key.name);
  return names;
}

bool IsSection(const std::vector<Key>& keys, absl::string_view name) {
  const std::string prefix = absl::StrCat(name, ".");
  return std::any_of(keys.begin(), keys.end(),
                     [&](const Key& key) { return absl::StartsWith(key.name, prefix); });
}

bool IsKey(const std::vector<Key>& keys, absl::string_view name) {
  return std::any_of(keys.begin(), keys.end(), [&](const Key& key) { return key.name == name; });
}

// Turns nested maps into dotted names, refusing what is not declared.
absl::Status Collect(const YAML::Node& map, const std::string& prefix, const std::vector<Key>& keys,
                     const std::string& file, Entries* entries) {
  for (const auto& pair : map) {
    const int line = pair.first.Mark().line + 1;
    if (!pair.first.IsScalar()) {
      return absl::InvalidArgumentError(absl::StrCat(Where(file, line), "a key must be a word"));
    }
    const std::string name = prefix + pair.first.Scalar();
    if (IsSection(keys, name)) {
      if (pair.second.IsNull()) continue;  // a section with everything in it commented out
      if (!pair.second.IsMap()) {
        return absl::InvalidArgumentError(
            absl::StrCat(Where(file, line), "\"", name,
                         "\" holds further keys, indented below it, and no value"));
      }
      RETURN_IF_ERROR(Collect(pair.second, name + ".", keys, file, entries));
      continue;
    }
    if (!IsKey(keys, name)) {
      const std::string near = Nearest(name, Names(keys));
      return absl::InvalidArgumentError(
          absl::StrCat(Where(file, line), "unknown key \"", name, "\"",
                       near.empty() ? "; docs/configuration.md lists the known ones"
                                    : absl::StrCat("; did you mean \"", near, "\"?")));
    }
    if (!entries->emplace(name, Entry{pair.second, line}).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(Where(file, line), "key \"", name, "\" stands twice; remove one of them"));
    }
  }
  return absl::OkStatus();
}

// Reads one value of a declared type. Errors say what was expected and found, not where.
class Reader {
 public:
  Reader(const Key& key, const std::string& file) : key_(key), file_(file) {}

  absl::Status FromYaml(const YAML::Node& node) const {
    if (key_.type == KeyType::kAddressList) return AddressList(node);
    if (!node.IsScalar()) return Expected(node.IsNull() ? "nothing" : "a list or map");
    return FromText(node.Scalar());
  }

  absl::Status FromText(const std::string& text) const {
    switch (key_.type) {
      case KeyType::kString:
      case KeyType::kPath:
      case KeyType::kAddress:
        return String(text);
      case KeyType::kBool:
        return Bool(text);
      case KeyType::kInteger: {
        int64_t value = 0;
        if (!absl::SimpleAtoi(text, &value)) return ExpectedNot(text);
        return Bounded(text, value, ParseInteger, std::get<int64_t*>(key_.target));
      }
      case KeyType::kDuration: {
        const auto value = ParseDuration(text);
        if (!value.ok()) return ExpectedNot(text);
        return Bounded(text, *value, ParseDuration, std::get<absl::Duration*>(key_.target));
      }
      case KeyType::kByteSize: {
        const auto value = ParseByteSize(text);
        if (!value.ok()) return ExpectedNot(text);
        return Bounded(text, *value, ParseByteSize, std::get<int64_t*>(key_.target));
      }
      case KeyType::kAddressList: {
        auto* list = std::get<std::vector<std::string>*>(key_.target);
        *list = absl::StrSplit(text, ',', absl::SkipEmpty());
        return absl::OkStatus();
      }
    }
    return absl::InternalError("a key type without a reader");
  }

 private:
  static absl::StatusOr<int64_t> ParseInteger(absl::string_view text) {
    int64_t value = 0;
    if (!absl::SimpleAtoi(text, &value)) return absl::InvalidArgumentError("not a number");
    return value;
  }

  std::string Expectation() const {
    if (!key_.options.expected.empty()) return key_.options.expected;
    if (!key_.options.one_of.empty()) {
      return absl::StrCat("one of ", absl::StrJoin(key_.options.one_of, ", "));
    }
    std::string text;
    switch (key_.type) {
      case KeyType::kDuration:
        text = "a duration such as \"500ms\", \"10s\" or \"7d\"";
        break;
      case KeyType::kByteSize:
        text = "a size such as \"64KiB\", \"256MiB\" or \"10GiB\"";
        break;
      case KeyType::kAddress:
        text = "an address such as \"10.0.0.5:7400\"";
        break;
      case KeyType::kAddressList:
        text = "a list of addresses such as [\"10.0.0.5:7400\"]";
        break;
      case KeyType::kInteger:
        text = "a whole number";
        break;
      default:
        text = std::string(TypeName(key_.type));
    }
    const KeyOptions& limits = key_.options;
    if (!limits.min.empty()) absl::StrAppend(&text, ", at least ", limits.min);
    if (!limits.max.empty()) absl::StrAppend(&text, ", at most ", limits.max);
    return text;
  }

  absl::Status Expected(absl::string_view found) const {
    return absl::InvalidArgumentError(
        absl::StrCat("key \"", key_.name, "\": expected ", Expectation(), ", found ", found));
  }
  absl::Status ExpectedNot(absl::string_view text) const {
    return Expected(absl::StrCat("\"", text, "\""));
  }

  absl::Status String(const std::string& text) const {
    const KeyOptions& options = key_.options;
    if (options.required && text.empty()) return Expected("nothing");
    if (!options.one_of.empty() &&
        std::find(options.one_of.begin(), options.one_of.end(), text) == options.one_of.end()) {
      return ExpectedNot(text);
    }
    if (key_.type == KeyType::kAddress && !text.empty() && !ParseHostPort(text).ok()) {
      return ExpectedNot(text);
    }
    // The value is left out: what has a check of its own may hold a secret (a connection string).
    if (options.valid && !options.valid(text)) return Expected("something else");
    auto* target = std::get<std::string*>(key_.target);
    *target = key_.type == KeyType::kPath ? Resolve(text) : text;
    return absl::OkStatus();
  }

  std::string Resolve(const std::string& text) const {
    if (text.empty()) return text;
    const std::filesystem::path path(text);
    if (path.is_absolute()) return path.lexically_normal().string();
    return (std::filesystem::path(file_).parent_path() / path).lexically_normal().string();
  }

  absl::Status Bool(const std::string& text) const {
    if (text != "true" && text != "false") return ExpectedNot(text);
    *std::get<bool*>(key_.target) = text == "true";
    return absl::OkStatus();
  }

  template <typename T, typename Parse>
  absl::Status Bounded(const std::string& text, T value, Parse parse, T* target) const {
    const KeyOptions& limits = key_.options;
    if (!limits.min.empty() && value < *parse(limits.min)) return ExpectedNot(text);
    if (!limits.max.empty() && value > *parse(limits.max)) return ExpectedNot(text);
    *target = value;
    return absl::OkStatus();
  }

  absl::Status AddressList(const YAML::Node& node) const {
    if (!node.IsSequence()) return Expected(node.IsNull() ? "nothing" : "no list");
    std::vector<std::string> addresses;
    for (const YAML::Node& item : node) {
      if (!item.IsScalar()) return Expected("a list or map inside the list");
      if (!ParseHostPort(item.Scalar()).ok()) return ExpectedNot(item.Scalar());
      addresses.push_back(item.Scalar());
    }
    if (key_.options.required && addresses.empty()) return Expected("an empty list");
    *std::get<std::vector<std::string>*>(key_.target) = std::move(addresses);
    return absl::OkStatus();
  }

  const Key& key_;
  const std::string& file_;
};

absl::StatusOr<YAML::Node> Parse(const std::string& text, const std::string& file) {
  try {
    return YAML::Load(text);
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(
        absl::StrCat(Where(file, e.mark.line + 1), "not YAML: ", e.msg));
  }
}

}  // namespace

void Declaration::String(std::string name, std::string* target, std::string doc,
                         KeyOptions options) {
  keys_.push_back({std::move(name), KeyType::kString, std::move(doc), std::move(options), target});
}
void Declaration::Path(std::string name, std::string* target, std::string doc, KeyOptions options) {
  keys_.push_back({std::move(name), KeyType::kPath, std::move(doc), std::move(options), target});
}
void Declaration::Bool(std::string name, bool* target, std::string doc, KeyOptions options) {
  keys_.push_back({std::move(name), KeyType::kBool, std::move(doc), std::move(options), target});
}
void Declaration::Integer(std::string name, int64_t* target, std::string doc, KeyOptions options) {
  keys_.push_back({std::move(name), KeyType::kInteger, std::move(doc), std::move(options), target});
}
void Declaration::Duration(std::string name, absl::Duration* target, std::string doc,
                           KeyOptions options) {
  keys_.push_back(
      {std::move(name), KeyType::kDuration, std::move(doc), std::move(options), target});
}
void Declaration::ByteSize(std::string name, int64_t* target, std::string doc, KeyOptions options) {
  keys_.push_back(
      {std::move(name), KeyType::kByteSize, std::move(doc), std::move(options), target});
}
void Declaration::Address(std::string name, std::string* target, std::string doc,
                          KeyOptions options) {
  keys_.push_back({std::move(name), KeyType::kAddress, std::move(doc), std::move(options), target});
}
void Declaration::AddressList(std::string name, std::vector<std::string>* target, std::string doc,
                              KeyOptions options) {
  keys_.push_back(
      {std::move(name), KeyType::kAddressList, std::move(doc), std::move(options), target});
}

absl::Status Declaration::LoadFile(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return absl::NotFoundError(absl::StrCat("configuration file \"", path, "\" does not exist"));
  }
  std::ifstream file(path);
  std::stringstream text;
  if (!file || !(text << file.rdbuf())) {
    // An empty file also fails the second: nothing is no configuration either.
    return absl::PermissionDeniedError(
        absl::StrCat("cannot read configuration file \"", path,
                     "\": ", file ? "it is empty" : std::strerror(errno)));
  }
  return LoadText(text.str(), path);
}

absl::Status Declaration::LoadText(const std::string& text, const std::string& path) {
  ASSIGN_OR_RETURN(const YAML::Node root, Parse(text, path));
  if (!root.IsMap() && !root.IsNull()) {
    return absl::InvalidArgumentError(
        absl::StrCat(Where(path, 1), "expected lines of the form \"key: value\""));
  }
  Entries entries;
  if (root.IsMap()) RETURN_IF_ERROR(Collect(root, "", keys_, path, &entries));

  std::vector<std::string> missing;
  for (const Key& key : keys_) {
    const Reader reader(key, path);
    const auto entry = entries.find(key.name);
    if (entry != entries.end()) {
      const absl::Status status = reader.FromYaml(entry->second.node);
      if (!status.ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat(Where(path, entry->second.line), status.message()));
      }
    } else if (key.options.required) {
      missing.push_back(absl::StrCat("\"", key.name, "\" (", key.doc, ")"));
    } else if (!key.options.default_value.empty()) {
      RETURN_IF_ERROR(reader.FromText(key.options.default_value));
    }
  }
  if (!missing.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": missing key ", absl::StrJoin(missing, ", ")));
  }
  return absl::OkStatus();
}

std::string Declaration::Help() const {
  std::string text;
  for (const Key& key : keys_) {
    std::string facts(TypeName(key.type));
    if (key.options.required) absl::StrAppend(&facts, ", required");
    if (!key.options.default_value.empty()) {
      absl::StrAppend(&facts, ", default ", key.options.default_value);
    }
    absl::StrAppend(&text, "  ", key.name, " (", facts, ")\n      ", key.doc, "\n");
  }
  return text;
}

std::string Declaration::MarkdownTable() const {
  std::string text = "| key | value | default | meaning |\n|---|---|---|---|\n";
  for (const Key& key : keys_) {
    std::string value(TypeName(key.type));
    if (!key.options.one_of.empty()) value = absl::StrJoin(key.options.one_of, ", ");
    if (!key.options.min.empty()) absl::StrAppend(&value, ", at least ", key.options.min);
    if (!key.options.max.empty()) absl::StrAppend(&value, ", at most ", key.options.max);
    const std::string initial = key.options.required                ? "required"
                                : key.options.default_value.empty() ? "none"
                                                                    : key.options.default_value;
    absl::StrAppend(&text, "| `", key.name, "` | ", value, " | ", initial, " | ",
                    absl::StrReplaceAll(key.doc, {{"|", "\\|"}}), " |\n");
  }
  return text;
}

}  // namespace bdr::config
