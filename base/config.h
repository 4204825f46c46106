// Configuration files: YAML, read against one declared list of keys.
//
// A program declares each key once, bound to the variable that takes its value. That declaration
// reads the file, prints the help, and is what the docs test compares docs/configuration.md with,
// so the three cannot drift apart. Nothing in a file is passed over: a misspelt key would
// otherwise leave its default in force until someone wonders why.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace bdr::config {

// A network address as "host:port" or "[v6]:port".
struct HostPort {
  std::string host;  // without brackets
  uint16_t port = 0;
};

// kInvalidArgument unless `text` is "host:port" with a port from 1 to 65535.
absl::StatusOr<HostPort> ParseHostPort(absl::string_view text);

// True only for localhost, 127.0.0.0/8 and ::1. Names are not looked up.
bool IsLoopback(absl::string_view host);

// "250us", "500ms", "10s", "5m", "2h30m", "7d". Never negative or infinite.
absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text);

// Bytes: "65536", "64KiB", "256MiB", "10GiB", "1TiB". Units of 1000 are refused as ambiguous.
absl::StatusOr<int64_t> ParseByteSize(absl::string_view text);

// What else a key asks for. Limits and default are written as in a file, so that the help and the
// docs show what a person may write.
struct KeyOptions {
  std::string default_value = "";
  bool required = false;  // must stand in the file; a key that is not and has no default stays as
                          // the variable was
  std::string min = "";   // integers, durations, sizes
  std::string max = "";
  std::vector<std::string> one_of = {};  // strings: the only values allowed
  // Strings: what else must hold, and how it is called in an error ("a name like eu1").
  std::function<bool(absl::string_view)> valid = nullptr;
  std::string expected = "";
};

// Kept beside the YAML's own types: what a value means.
enum class KeyType {
  kString,
  kPath,
  kBool,
  kInteger,
  kDuration,
  kByteSize,
  kAddress,
  kAddressList
};

struct Key {
  std::string name;  // dotted: "tls.ca" is the key `ca` in the map `tls`
  KeyType type;
  std::string doc;  // one line
  KeyOptions options;
  std::variant<std::string*, bool*, int64_t*, absl::Duration*, std::vector<std::string>*> target;
};

// The keys of one program, in the order in which people read them. Not thread-safe. The variables
// must outlive it.
class Declaration {
 public:
  void String(std::string name, std::string* target, std::string doc, KeyOptions options = {});
  // A file or folder. A relative one is taken from the folder of the configuration file.
  void Path(std::string name, std::string* target, std::string doc, KeyOptions options = {});
  void Bool(std::string name, bool* target, std::string doc, KeyOptions options = {});
  void Integer(std::string name, int64_t* target, std::string doc, KeyOptions options = {});
  void Duration(std::string name, absl::Duration* target, std::string doc, KeyOptions options = {});
  void ByteSize(std::string name, int64_t* target, std::string doc, KeyOptions options = {});
  // "host:port", kept as written.
  void Address(std::string name, std::string* target, std::string doc, KeyOptions options = {});
  void AddressList(std::string name, std::vector<std::string>* target, std::string doc,
                   KeyOptions options = {});

  const std::vector<Key>& keys() const { return keys_; }

  // Sets every variable from the file, or from its default. kInvalidArgument names file, line, key
  // and what is expected (variables may then be partly set), kNotFound if there is no such file,
  // kPermissionDenied if it cannot be read.
  absl::Status LoadFile(const std::string& path);
  // The same for a text; `path` stands in for the file in errors and for relative paths.
  absl::Status LoadText(const std::string& text, const std::string& path);

  // For --help: every key with type, default and doc.
  std::string Help() const;
  // The rows of the table in docs/configuration.md.
  std::string MarkdownTable() const;

 private:
  std::vector<Key> keys_;
};

// The member of `known` that needs the fewest edits to become `word`; empty if none is close.
std::string Nearest(absl::string_view word, const std::vector<std::string>& known);

}  // namespace bdr::config
