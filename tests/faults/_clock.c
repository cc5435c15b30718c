/* A time of day that jumps for the processes that load this, and for no other: LD_PRELOAD=_clock.so JUMP=FILE, seconds in the file.
 * The monotonic clock stays as it is, as it does when somebody sets a machine's clock. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t jump(void) {
  char text[32] = {0};
  const char *path = getenv("JUMP");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return 0;
  if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
  close(file);
  return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, clock, now);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += jump();
  return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
  int failed = syscall(SYS_gettimeofday, now, zone);
  if (!failed) now->tv_sec += jump();
  return failed;
}

time_t time(time_t *where) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (where) *where = now.tv_sec;
  return now.tv_sec;
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
  struct timespec now[2];
  if (!times) { /* the kernel's own time does not jump */
    clock_gettime(CLOCK_REALTIME, &now[0]);
    now[1] = now[0];
    times = now;
  }
  return syscall(SYS_utimensat, folder, path, times, flags);
}
