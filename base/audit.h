// The audit trail: one line in the log of whoever did it for each change that a person made.
//
//   I 2026-01-31T22:14:07.042Z audit who=admin:anna peer=ipv4:10.0.0.9:41020 rpc=AddNode
//   object="node eu2 at 10.0.0.6:7401" result=OK                                 (on one line)
//
// Which calls those are stands in base/access.h. No level of the log leaves them out. Values of
// rows are never in it, nor is the text of an error, which may hold some: the caller has got that.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace google::protobuf {
class Message;
}
namespace grpc {
class ServerBuilder;
}

namespace bdr {

// Has the server that is built write the lines, for calls that reach a handler; those which are
// refused before are logged by base/access.h.
void AddAudit(grpc::ServerBuilder* builder);

// What an audited call is about to change; empty if nothing: it only shows what it would do.
std::string AuditedObject(const google::protobuf::Message& request);

}  // namespace bdr
