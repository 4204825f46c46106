// A log line that the log's level does not leave out: for what has to stand in it.
#pragma once

#include "base/logging.h"

namespace bdr {

// As LogInfo(), whatever SetLogLevel() says.
void LogAlways(absl::string_view event, LogFields fields);

}  // namespace bdr
