// What ps, top and gdb call a thread.
#pragma once

#include <pthread.h>

#include <string>

#include "absl/strings/string_view.h"

namespace bdr {

// Of the thread that calls it; threads that it starts inherit the name. The kernel keeps 15 bytes.
inline void NameThread(absl::string_view name) {
  pthread_setname_np(pthread_self(), std::string(name.substr(0, 15)).c_str());
}

}  // namespace bdr
