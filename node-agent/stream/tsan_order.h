// gRPC orders what we do before a call starts before what its callbacks do, by locks that
// ThreadSanitizer does not see, since Debian's gRPC is compiled without it. This says so.
// Nothing in other builds.
#pragma once

#ifdef __SANITIZE_THREAD__
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#endif

namespace bdr::agent {

#ifdef __SANITIZE_THREAD__
// Before the call starts.
inline void HandToGrpc(void* reactor) { __tsan_release(reactor); }
// First in every callback.
inline void TakeFromGrpc(void* reactor) { __tsan_acquire(reactor); }
#else
inline void HandToGrpc(void*) {}
inline void TakeFromGrpc(void*) {}
#endif

}  // namespace bdr::agent
