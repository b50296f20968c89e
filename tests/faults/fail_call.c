/* Makes the n-th call that changes a file system fail, or be the last of the process.

   Preloaded into a Python; `ft_arm(n, fault, lasting)` starts counting in the process that calls it. `fault` is 0 for
   SIGKILL instead of the call, -1 for a write of half its bytes, else the errno the call fails with. With `lasting`
   every later call fails too, as on a disk that stays full. `ft_count()` gives the calls since it was armed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long armed, count, fault, lasting;

void ft_arm(long n, long what, long stays) { armed = n; count = 0; fault = what; lasting = stays; }
long ft_count(void) { return count; }

/* Whether this call is to fail; errno is set then. */
static int fails(int is_write) {
    if (!armed) return 0;
    count++;
    if (count < armed || (count > armed && !lasting)) return 0;
    if (fault == 0) kill(getpid(), SIGKILL);
    if (fault == -1) {
        if (is_write && count == armed) return 2;
        errno = ENOSPC;
        return lasting;
    }
    errno = (int)fault;
    return 1;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (fd <= 2) return real(fd, data, size);
    int found = fails(1);
    if (found == 2) return real(fd, data, (size + 1) / 2);
    return found ? -1 : real(fd, data, size);
}
#define WRAP(type, name, parameters, arguments) \
    type name parameters { REAL(name); return fails(0) ? -1 : real arguments; }
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(int, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode))
WRAP(int, unlink, (const char *path), (path))
WRAP(int, unlinkat, (int at, const char *path, int flags), (at, path, flags))
WRAP(int, rmdir, (const char *path), (path))
WRAP(int, chmod, (const char *path, mode_t mode), (path, mode))
WRAP(int, fchmodat, (int at, const char *path, mode_t mode, int flags), (at, path, mode, flags))
WRAP(int, ftruncate, (int fd, off_t size), (fd, size))
WRAP(int, ftruncate64, (int fd, off64_t size), (fd, size))

#define CHANGES (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR)
#define OPEN(name, before, arguments) \
    int name before { \
        REAL(name); \
        mode_t mode = 0; \
        if (flags & O_CREAT) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); } \
        if ((flags & CHANGES) && fails(0)) return -1; \
        return real arguments; \
    }
OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode))
OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode))
