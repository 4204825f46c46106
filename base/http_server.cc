#include "base/http_server.h"

#include <CivetServer.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace bdr {
namespace {

struct Response {
  int code = 200;
  std::string content_type;
  std::string body;
};

// Answers GET and HEAD with what a function says.
class Page : public CivetHandler {
 public:
  explicit Page(std::function<Response()> answer) : answer_(std::move(answer)) {}

  bool handleGet(CivetServer*, mg_connection* connection) override {
    return Send(connection, /*with_body=*/true);
  }
  bool handleHead(CivetServer*, mg_connection* connection) override {
    return Send(connection, /*with_body=*/false);
  }

 private:
  bool Send(mg_connection* connection, bool with_body) const {
    const Response response = answer_();
    std::string text = absl::StrCat(
        "HTTP/1.1 ", response.code, response.code == 200 ? " OK" : " Service Unavailable",
        "\r\nContent-Type: ", response.content_type, "\r\nContent-Length: ", response.body.size(),
        "\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n");
    if (with_body) text += response.body;
    mg_write(connection, text.data(), text.size());
    return true;
  }

  const std::function<Response()> answer_;
};

Response Probe(const HttpServer::Reasons& reasons) {
  const std::vector<std::string> lines = reasons ? reasons() : std::vector<std::string>();
  if (lines.empty()) return {200, "text/plain; charset=utf-8", "ok\n"};
  return {503, "text/plain; charset=utf-8", absl::StrCat(absl::StrJoin(lines, "\n"), "\n")};
}

// civetweb tells why it could not start only to its log; keep that for the error.
thread_local std::string start_error;

int KeepError(const mg_connection*, const char* message) {
  if (start_error.empty()) start_error = message;  // the first is the cause
  return 1;                                        // handled: nothing is printed
}

}  // namespace

struct HttpServer::Impl {
  Impl(const Options& options, const std::vector<std::string>& settings,
       const CivetCallbacks* callbacks)
      : metrics([m = options.metrics] {
          return Response{200, "text/plain; version=0.0.4; charset=utf-8", m ? m->Text() : ""};
        }),
        livez([reasons = options.not_live] { return Probe(reasons); }),
        readyz([reasons = options.not_ready] { return Probe(reasons); }),
        server(settings, callbacks) {
    // '$' ends the pattern: without it /metrics would also be everything below it.
    server.addHandler("/metrics$", metrics);
    server.addHandler("/livez$", livez);
    server.addHandler("/readyz$", readyz);
  }

  Page metrics;
  Page livez;
  Page readyz;
  CivetServer server;  // last: it stops before the pages go
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const Options& options) {
  // civetweb wants numbers, and a listener by name would only hide which address it is.
  std::string host = options.address.host == "localhost" ? "127.0.0.1" : options.address.host;
  if (absl::StrContains(host, ':')) host = absl::StrCat("[", host, "]");
  const std::string address = absl::StrCat(host, ":", options.address.port);
  const std::vector<std::string> settings = {"listening_ports",    address, "num_threads", "3",
                                             "request_timeout_ms", "5000"};
  CivetCallbacks callbacks;
  callbacks.log_message = &KeepError;
  start_error.clear();
  try {
    return std::unique_ptr<HttpServer>(
        new HttpServer(std::make_unique<Impl>(options, settings, &callbacks)));
  } catch (const std::exception& e) {
    return absl::UnavailableError(absl::StrCat(
        "cannot serve HTTP on \"", address, "\": ", start_error.empty() ? e.what() : start_error,
        "; free the port or set metrics_listen to another address"));
  }
}

int HttpServer::port() const {
  const std::vector<int> ports = impl_->server.getListeningPorts();
  return ports.empty() ? 0 : ports.front();
}

}  // namespace bdr
