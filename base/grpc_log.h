// gRPC's own log lines, in ours.
#pragma once

namespace bdr {

// From now on gRPC's errors are warnings of event `grpc` in our log, a few in a minute at most:
// anybody who can reach a port can cause them, by handshakes that fail. Once, before the first
// server or channel.
void TakeGrpcLog();

}  // namespace bdr
