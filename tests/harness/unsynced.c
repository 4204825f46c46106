/* LD_PRELOAD library: notes how much of each file was synced, so that a test can take away the rest
 * and see what a crash of the whole machine would leave.
 *
 * A line is added to the file $BDR_UNSYNCED_JOURNAL for every event of a file under the folder
 * $BDR_UNSYNCED_FOLDER:
 *
 *   S <bytes> <path>     fsync() or fdatasync(): so many bytes are safe
 *   N <path>             made anew or emptied by open(): nothing of it is safe
 *   R <from>\t<to>       rename()
 *   U <path>             unlink()
 *
 * sync_file_range() is no promise and is not noted. Renames count as durable at once, as on the
 * usual journaling file systems. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int journal = -1;
static char folder[PATH_MAX];
static size_t folder_length;

static int (*real_open)(const char*, int, ...);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_rename)(const char*, const char*);
static int (*real_unlink)(const char*);

/* Also called by what comes before our turn: other libraries' constructors may open files. */
__attribute__((constructor)) static void Init(void) {
  if (real_open != NULL) return;
  real_open = (int (*)(const char*, int, ...))dlsym(RTLD_NEXT, "open");
  real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  real_rename = (int (*)(const char*, const char*))dlsym(RTLD_NEXT, "rename");
  real_unlink = (int (*)(const char*))dlsym(RTLD_NEXT, "unlink");
  const char* journal_path = getenv("BDR_UNSYNCED_JOURNAL");
  const char* watched = getenv("BDR_UNSYNCED_FOLDER");
  if (journal_path == NULL || watched == NULL) return;
  snprintf(folder, sizeof folder, "%s/", watched);
  folder_length = strlen(folder);
  journal = real_open(journal_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static int Watched(const char* path) {
  return journal >= 0 && strncmp(path, folder, folder_length) == 0;
}

/* One write() of a line to a file opened for appending does not mix with others. */
__attribute__((format(printf, 1, 2))) static void Note(const char* format, ...) {
  char line[2 * PATH_MAX + 64];
  const int saved = errno;
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  if (length > 0 && (size_t)length < sizeof line && write(journal, line, (size_t)length) < 0) {
    abort(); /* A test that trusts a torn journal would prove nothing. */
  }
  errno = saved;
}

static int Sync(int fd, int (*real)(int)) {
  char link[64];
  char path[PATH_MAX];
  struct stat status;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = journal >= 0 ? readlink(link, path, sizeof path - 1) : -1;
  /* The size from before the call: what is written meanwhile may or may not be covered. */
  const int known = length > 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  const int result = real(fd);
  if (result == 0 && known) {
    path[length] = 0;
    if (Watched(path)) Note("S %lld %s\n", (long long)status.st_size, path);
  }
  return result;
}

int fsync(int fd) {
  Init();
  return Sync(fd, real_fsync);
}
int fdatasync(int fd) {
  Init();
  return Sync(fd, real_fdatasync);
}

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if (flags & (O_CREAT | O_TMPFILE)) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  Init();
  const int fresh =
      Watched(path) && ((flags & O_TRUNC) || ((flags & O_CREAT) && access(path, F_OK) != 0));
  const int fd = real_open(path, flags, mode);
  if (fd >= 0 && fresh) Note("N %s\n", path);
  return fd;
}
int open64(const char* path, int flags, ...) {
  mode_t mode = 0;
  if (flags & (O_CREAT | O_TMPFILE)) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  return open(path, flags, mode);
}

int rename(const char* from, const char* to) {
  Init();
  const int result = real_rename(from, to);
  if (result == 0 && Watched(to)) Note("R %s\t%s\n", from, to);
  return result;
}

int unlink(const char* path) {
  Init();
  const int watched = Watched(path);
  const int result = real_unlink(path);
  if (result == 0 && watched) Note("U %s\n", path);
  return result;
}
