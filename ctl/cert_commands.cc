// bdrctl cert ...: certificates for a cluster, without a PKI around. It needs no cluster.
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "ctl/certificates.h"
#include "ctl/command.h"
#include "ctl/files.h"
#include "ctl/format.h"

namespace bdr::ctl {
namespace {

absl::StatusOr<std::string> ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  if (file.good() && !text.str().empty()) return text.str();
  return absl::FailedPreconditionError(absl::StrCat("cannot read \"", path, "\""));
}

struct Files {
  std::string certificate;
  std::string key;
};

absl::StatusOr<Files> WritePair(const std::string& folder, const std::string& name,
                                const KeyPair& pair) {
  const Files files{.certificate = absl::StrCat(folder, "/", name, ".crt"),
                    .key = absl::StrCat(folder, "/", name, ".key")};
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return CannotWrite(folder, error.value());
  // Neither without the other.
  if (std::filesystem::exists(files.certificate)) return CannotWrite(files.certificate, EEXIST);
  RETURN_IF_ERROR(WriteNew(files.key, pair.key, 0600));
  RETURN_IF_ERROR(WriteNew(files.certificate, pair.certificate, 0644));
  return files;
}

Json InfoJson(const CertificateInfo& info) {
  Json document = {{"subject", info.subject},
                   {"role", info.identity.ok() ? std::string(ToString(info.identity->role)) : ""},
                   {"name", info.identity.ok() ? info.identity->name : ""},
                   {"authority", info.authority},
                   {"hosts", info.hosts},
                   {"begins", TimeText(info.begins_us)},
                   {"ends", TimeText(info.ends_us)},
                   {"issuer", info.issuer},
                   {"serial", info.serial}};
  return document;
}

struct CaOptions {
  std::string out;
  int days = 3650;
};

absl::StatusOr<int> MakeCa(const Invocation& invocation, const CaOptions& options) {
  ASSIGN_OR_RETURN(const KeyPair pair, MakeAuthority(options.days));
  ASSIGN_OR_RETURN(const Files files, WritePair(options.out, "ca", pair));
  invocation.Print({.text = absl::StrCat(
                        "wrote ", files.certificate, ", which every program gets as its CA, and ",
                        files.key, ", which issues certificates: keep it away from all of them\n"),
                    .document = {{"certificate", files.certificate}, {"key", files.key}}});
  return kGood;
}

struct IssueOptions {
  std::string name;
  std::string role;
  std::vector<std::string> hosts;
  std::string ca_dir;
  std::string out;
  int days = 825;
};

absl::StatusOr<int> Issue(const Invocation& invocation, const IssueOptions& options) {
  ASSIGN_OR_RETURN(const Role role, ParseRole(options.role));
  KeyPair authority;
  ASSIGN_OR_RETURN(authority.certificate, ReadAll(options.ca_dir + "/ca.crt"));
  ASSIGN_OR_RETURN(authority.key, ReadAll(options.ca_dir + "/ca.key"));
  ASSIGN_OR_RETURN(const KeyPair pair, IssueCertificate(authority, {.name = options.name,
                                                                    .role = role,
                                                                    .hosts = options.hosts,
                                                                    .days = options.days}));
  ASSIGN_OR_RETURN(const Files files, WritePair(options.out, options.name, pair));
  ASSIGN_OR_RETURN(const CertificateInfo info, DescribeCertificate(pair.certificate));
  Json document = InfoJson(info);
  document["certificate"] = files.certificate;
  document["key"] = files.key;
  invocation.Print(
      {.text = absl::StrCat("wrote ", files.certificate, " and ", files.key, ": ", options.role,
                            " \"", options.name, "\" until ", LocalTime(info.ends_us), "\n"),
       .document = std::move(document)});
  return kGood;
}

absl::StatusOr<int> Show(const Invocation& invocation, const std::string& file) {
  ASSIGN_OR_RETURN(const std::string pem, ReadAll(file));
  const absl::StatusOr<CertificateInfo> info = DescribeCertificate(pem);
  if (!info.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", file, "\": ", info.status().message()));
  }
  const int64_t now_us = absl::ToUnixMicros(absl::Now());
  const char* state = now_us < info->begins_us ? "not yet"
                      : now_us < info->ends_us ? "yes"
                                               : "no, it has ended";
  std::string who;
  if (info->authority) {
    who = "a CA";
  } else if (info->identity.ok()) {
    who = absl::StrCat(ToString(info->identity->role), " \"", info->identity->name, "\"");
  } else {
    who = absl::StrCat("nobody: ", info->identity.status().message());
  }
  Json document = InfoJson(*info);
  document["valid"] = now_us >= info->begins_us && now_us < info->ends_us;
  invocation.Print(
      {.text = absl::StrCat("of       ", who, "\nsubject  ", info->subject, "\nhosts    ",
                            OrDash(absl::StrJoin(info->hosts, ", ")), "\nbegins   ",
                            LocalTime(info->begins_us), "\nends     ", LocalTime(info->ends_us),
                            "\nvalid    ", state, "\nissuer   ", info->issuer, "\nserial   ",
                            info->serial, "\n"),
       .document = std::move(document)});
  return kGood;
}

}  // namespace

void AddCertCommands(CLI::App* app, Invocation* invocation) {
  CLI::App* cert = AddNoun(app, "cert", "Makes and shows certificates",
                           {"bdrctl cert ca --out ca",
                            "bdrctl cert issue eu1 --role node --host eu1.example.org --ca-dir ca "
                            "--out tls"});

  auto ca = std::make_shared<CaOptions>();
  CLI::App* make =
      AddVerb(cert, invocation, "ca", "Makes a CA, which issues certificates",
              {"bdrctl cert ca --out ca"}, [invocation, ca] { return MakeCa(*invocation, *ca); });
  make->add_option("--out", ca->out, "Folder to write ca.crt and ca.key to")->required();
  make->add_option("--days", ca->days, "Days until it ends")->capture_default_str();

  auto wish = std::make_shared<IssueOptions>();
  CLI::App* issue = AddVerb(
      cert, invocation, "issue", "Issues a certificate for a node, a server or a person",
      {"bdrctl cert issue eu1 --role node --host eu1.example.org --host 10.0.0.5 --ca-dir ca --out "
       "tls",
       "bdrctl cert issue ctl1 --role server --host ctl1.example.org --ca-dir ca --out tls",
       "bdrctl cert issue anna --role admin --ca-dir ca --out anna"},
      [invocation, wish] { return Issue(*invocation, *wish); });
  issue->add_option("NAME", wish->name, "Name of the node, server or person")->required();
  issue->add_option("--role", wish->role, "What it may do")
      ->required()
      ->check(CLI::IsMember({"node", "server", "admin", "viewer"}));
  issue->add_option("--host", wish->hosts, "DNS name or IP address by which others reach it");
  issue->add_option("--ca-dir", wish->ca_dir, "Folder with ca.crt and ca.key")->required();
  issue->add_option("--out", wish->out, "Folder to write NAME.crt and NAME.key to")->required();
  issue->add_option("--days", wish->days, "Days until it ends, or the CA does")
      ->capture_default_str();

  auto file = std::make_shared<std::string>();
  CLI::App* show = AddVerb(cert, invocation, "show", "Says whose a certificate is, and until when",
                           {"bdrctl cert show tls/eu1.crt"},
                           [invocation, file] { return Show(*invocation, *file); });
  show->add_option("FILE", *file, "Certificate (PEM)")->required();
}

}  // namespace bdr::ctl
