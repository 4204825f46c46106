#include "node-agent/capture/capture_state.h"

namespace bdr::agent {

const char* ToString(CaptureState state) {
  switch (state) {
    case CaptureState::kConnecting:
      return "connecting";
    case CaptureState::kCreatingSlot:
      return "creating_slot";
    case CaptureState::kStreaming:
      return "streaming";
    case CaptureState::kStreamingText:
      return "streaming_text";
    case CaptureState::kPaused:
      return "paused";
    case CaptureState::kStopped:
      return "stopped";
  }
  return "unknown";
}

}  // namespace bdr::agent
