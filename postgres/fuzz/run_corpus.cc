// Gives each file of a corpus to the fuzz target once, without libFuzzer: an ordinary test. What a
// real server sent (files "pgoutput-...") must also be understood.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "postgres/pgoutput.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

bool Understood(const std::vector<char>& bytes, const std::string& name) {
  if (bytes.empty()) return false;
  const absl::string_view message(bytes.data() + 1, bytes.size() - 1);
  const absl::Status status = bdr::postgres::Decode(message, {.in_stream = bytes[0] == 1}).status();
  if (!status.ok()) std::fprintf(stderr, "%s: %s\n", name.c_str(), status.ToString().c_str());
  return status.ok();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
    return 2;
  }
  int files = 0;
  bool good = true;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    const std::string name = entry.path().filename().string();
    std::ifstream file(entry.path(), std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    if (name.rfind("pgoutput-", 0) == 0) good = Understood(bytes, name) && good;
    ++files;
  }
  std::printf("%d inputs\n", files);
  return good && files > 0 ? 0 : 1;
}
