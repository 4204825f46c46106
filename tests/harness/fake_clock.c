/* LD_PRELOAD library: the time of day of a process and its children, as a test wants it.
 *
 * The file $BDR_FAKE_CLOCK is mapped and holds a line through (machine's time, shown time) and how
 * fast shown time runs (see fake_clock.h). A test that changes it changes the clock of all these
 * processes in the same instant, which libfaketime cannot: it reads a file again process by
 * process, and its rates count from the start of each.
 *
 * Only the time of day is moved. CLOCK_MONOTONIC is what it is, as it would be after a step of the
 * clock. Waits that end at a time of day (futexes, condition variables) end when that is shown. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct Line {
  _Atomic uint64_t changes; /* odd while the rest is written */
  int64_t real_ns;
  int64_t shown_ns;
  double rate;
};

static const struct Line* line;
static int (*real_clock_gettime)(clockid_t, struct timespec*);
static long (*real_syscall)(long, ...);
static int (*real_timedwait)(pthread_cond_t*, pthread_mutex_t*, const struct timespec*);

/* Also called by what comes before our turn: other libraries' constructors may ask for the time. */
__attribute__((constructor)) static void Init(void) {
  if (real_syscall != NULL) return;
  real_clock_gettime = (int (*)(clockid_t, struct timespec*))dlsym(RTLD_NEXT, "clock_gettime");
  /* dlsym() alone may give the one of 1999, which knows other condition variables. */
#ifdef __x86_64__
  real_timedwait = (int (*)(pthread_cond_t*, pthread_mutex_t*, const struct timespec*))dlvsym(
      RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
#endif
  if (real_timedwait == NULL) {
    real_timedwait = (int (*)(pthread_cond_t*, pthread_mutex_t*, const struct timespec*))dlsym(
        RTLD_NEXT, "pthread_cond_timedwait");
  }
  real_syscall = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  const char* path = getenv("BDR_FAKE_CLOCK");
  if (path == NULL) return;
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  void* mapped = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *line, PROT_READ, MAP_SHARED, fd, 0);
  /* A test that believes in a clock which nobody moves would prove nothing. */
  if (mapped == MAP_FAILED) abort();
  close(fd);
  line = mapped;
}

static struct Line Read(void) {
  struct Line copy;
  uint64_t before;
  do {
    before = atomic_load_explicit(&line->changes, memory_order_acquire);
    copy.real_ns = line->real_ns;
    copy.shown_ns = line->shown_ns;
    copy.rate = line->rate;
    atomic_thread_fence(memory_order_acquire);
  } while (before % 2 != 0 || before != atomic_load_explicit(&line->changes, memory_order_relaxed));
  return copy;
}

static int64_t ToNs(const struct timespec* time) {
  return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

static struct timespec FromNs(int64_t ns) {
  struct timespec time = {ns / 1000000000, ns % 1000000000};
  return time;
}

static struct timespec Shown(const struct timespec* real) {
  const struct Line now = Read();
  return FromNs(now.shown_ns + (int64_t)((double)(ToNs(real) - now.real_ns) * now.rate));
}

/* When the machine's clock will show what is `shown` to this process. */
static struct timespec Real(const struct timespec* shown) {
  const struct Line now = Read();
  /* "For ever" is a time beyond what nanoseconds since 1970 can say. */
  if (shown->tv_sec > 8000000000 || shown->tv_sec < 0) return *shown;
  const int64_t real = now.real_ns + (int64_t)((double)(ToNs(shown) - now.shown_ns) / now.rate);
  return FromNs(real < 0 ? 0 : real);
}

int clock_gettime(clockid_t clock, struct timespec* time) {
  Init();
  const int result = real_clock_gettime(clock, time);
  if (result == 0 && line != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    *time = Shown(time);
  }
  return result;
}

int gettimeofday(struct timeval* restrict time, void* restrict zone) {
  (void)zone;
  struct timespec now;
  const int result = clock_gettime(CLOCK_REALTIME, &now);
  if (result != 0) return result;
  time->tv_sec = now.tv_sec;
  time->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != NULL) *out = now.tv_sec;
  return now.tv_sec;
}

int timespec_get(struct timespec* time, int base) {
  return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, time) == 0 ? base : 0;
}

int pthread_cond_timedwait(pthread_cond_t* restrict cond, pthread_mutex_t* restrict mutex,
                           const struct timespec* restrict until) {
  Init();
  /* glibc keeps there which clock the condition variable waits by: 2 is CLOCK_MONOTONIC. */
  if (line == NULL || (cond->__data.__wrefs & 2) != 0) return real_timedwait(cond, mutex, until);
  const struct timespec real = Real(until);
  return real_timedwait(cond, mutex, &real);
}

long syscall(long number, ...) {
  Init();
  long arguments[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; ++i) arguments[i] = va_arg(list, long);
  va_end(list);
  struct timespec real;
  if (line != NULL && number == SYS_futex && (arguments[1] & FUTEX_CLOCK_REALTIME) != 0 &&
      (arguments[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET && arguments[3] != 0) {
    real = Real((const struct timespec*)arguments[3]);
    arguments[3] = (long)&real;
  }
  const long result = real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3],
                                   arguments[4], arguments[5]);
  if (line != NULL && result == 0 && number == SYS_clock_gettime &&
      arguments[0] == CLOCK_REALTIME) {
    *(struct timespec*)arguments[1] = Shown((const struct timespec*)arguments[1]);
  }
  return result;
}
