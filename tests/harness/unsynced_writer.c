/* Writes in the folder argv[1] what MachineCrashTest expects to lose and to keep. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char* folder;

static const char* In(const char* name) {
  static char paths[2][4096];
  static int next = 0;
  char* path = paths[next++ % 2];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

static int Write(const char* name, const char* text) {
  const int fd = open(In(name), O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) _exit(1);
  return fd;
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  folder = argv[1];
  if (fdatasync(Write("log", "synced")) != 0) return 1;
  Write("log", " and not");
  Write("never", "lost");
  if (fsync(Write("new", "renamed")) != 0) return 1;
  return rename(In("new"), In("current")) == 0 ? 0 : 1;
}
