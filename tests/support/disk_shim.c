/* A disk under real programs that records, fails, stalls and kills: loaded with LD_PRELOAD, for tests only.
 *
 * Only files below DISK_SHIM_FOLDER count. Calls that change something on the disk are numbered from 1, as they come:
 * write, pwrite, writev, pwritev, ftruncate, rename, unlink, open with O_CREAT or O_TRUNC, fsync, fdatasync, msync.
 *
 *   DISK_SHIM_LOG=FILE      append a record for each of them, see struct record
 *   DISK_SHIM_LAZY=1        no sync is passed on to the system: for tests that look at files only, and need no record
 *   DISK_SHIM_SLOW_US=N     each sync takes so many microseconds more
 *   DISK_SHIM_FULL=FILE     while FILE exists, whatever needs space fails with ENOSPC
 *   DISK_SHIM_BROKEN=FILE   while FILE exists, every sync fails with EIO, after the first of them was told so
 *
 * And from within the process, by way of ctypes:
 *
 *   shim_fail(n, error, sticky)   the n-th call from now fails, or with `sticky` all from then on; n = 0: none
 *   shim_fail_read(n, error)      the same for the n-th read or pread
 *   shim_calls(), shim_reads()    how many there were
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Little-endian, without padding; then `path`, `other` and `data`. */
struct record {
    uint8_t op;         /* one of the letters below */
    uint8_t durable;    /* the descriptor was opened with O_SYNC or O_DSYNC */
    uint16_t path;      /* bytes of the path */
    uint16_t other;     /* bytes of the second path, of a rename */
    uint16_t unused;
    uint64_t offset;    /* of a write; the size, of a truncation */
    uint64_t data;      /* bytes written */
};
enum { WRITE = 'w', TRUNCATE = 't', RENAME = 'r', UNLINK = 'u', CREATE = 'c', SYNC = 's' };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *folder, *full, *broken;
static size_t folder_size;
static int log_fd = -1, lazy;
static useconds_t slow;
static long calls, fail_at, reads, fail_read_at;
static int fail_error, fail_sticky, fail_read_error;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real_pread)(int, void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_rename)(const char *, const char *);
static int (*real_renameat)(int, const char *, int, const char *);
static int (*real_unlink)(const char *);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_msync)(void *, size_t, int);

__attribute__((constructor)) static void begin(void) {
#define FIND(name) *(void **)&real_##name = dlsym(RTLD_NEXT, #name)
    FIND(write); FIND(pwrite); FIND(writev); FIND(pwritev); FIND(read); FIND(pread); FIND(ftruncate);
    FIND(rename); FIND(renameat); FIND(unlink); FIND(unlinkat); FIND(openat); FIND(fsync); FIND(fdatasync); FIND(msync);
    folder = getenv("DISK_SHIM_FOLDER");
    folder_size = folder ? strlen(folder) : 0;
    full = getenv("DISK_SHIM_FULL");
    broken = getenv("DISK_SHIM_BROKEN");
    lazy = getenv("DISK_SHIM_LAZY") != NULL;
    if (getenv("DISK_SHIM_SLOW_US")) slow = (useconds_t)atol(getenv("DISK_SHIM_SLOW_US"));
    if (getenv("DISK_SHIM_LOG"))
        log_fd = real_openat(AT_FDCWD, getenv("DISK_SHIM_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

void shim_fail(long n, int error, int sticky) {
    pthread_mutex_lock(&lock);
    fail_at = n ? calls + n : 0; fail_error = error; fail_sticky = sticky;
    pthread_mutex_unlock(&lock);
}
void shim_fail_read(long n, int error) { fail_read_at = n ? reads + n : 0; fail_read_error = error; }
long shim_calls(void) { return calls; }
long shim_reads(void) { return reads; }

static int inside(const char *path) {
    return folder && !strncmp(path, folder, folder_size) && (path[folder_size] == '/' || !path[folder_size]);
}

/* The path of a descriptor, if it is one of ours. */
static int named(int fd, char *path) {
    char link[64];
    if (!folder) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    if (size <= 0) return 0;
    path[size] = 0;
    return inside(path);
}

static int absolute(int at, const char *name, char *path) {
    char base[PATH_MAX];
    if (!folder) return 0;
    if (name[0] == '/') snprintf(path, PATH_MAX, "%s", name);
    else {
        if (at == AT_FDCWD) { if (!getcwd(base, sizeof base)) return 0; }
        else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            ssize_t size = readlink(link, base, sizeof base - 1);
            if (size <= 0) return 0;
            base[size] = 0;
        }
        snprintf(path, PATH_MAX, "%.2000s/%.2000s", base, name);
    }
    return inside(path);
}

/* Count a call; tell whether it is to fail. Called, and left, with the lock held. */
static int fails(int op) {
    calls++;
    if (full && op != SYNC && op != UNLINK && !access(full, F_OK)) { errno = ENOSPC; return 1; }
    if (broken && op == SYNC && !access(broken, F_OK)) { errno = EIO; return 1; }
    if (fail_at && (calls == fail_at || (fail_sticky && calls > fail_at))) { errno = fail_error; return 1; }
    return 0;
}

static void put(int op, int durable, const char *path, const char *other, uint64_t offset,
                const struct iovec *parts, int count, size_t data) {
    if (log_fd < 0) return;
    struct record head = {(uint8_t)op, (uint8_t)durable, (uint16_t)strlen(path), (uint16_t)strlen(other), 0, offset, data};
    real_write(log_fd, &head, sizeof head);
    real_write(log_fd, path, strlen(path));
    real_write(log_fd, other, strlen(other));
    for (int i = 0; i < count && data; i++) {
        size_t size = parts[i].iov_len < data ? parts[i].iov_len : data;
        real_write(log_fd, parts[i].iov_base, size);
        data -= size;
    }
}

static int is_durable(int fd) { return (fcntl(fd, F_GETFL) & (O_SYNC | O_DSYNC)) != 0; }

/* `offset` is -1 where the descriptor's own place counts. */
static ssize_t written(int fd, const struct iovec *parts, int count, off_t offset) {
    char path[PATH_MAX];
    int ours = named(fd, path);
    if (ours) pthread_mutex_lock(&lock);
    ssize_t size = -1;
    off_t at = offset;
    if (!ours || !fails(WRITE)) {
        if (ours && offset < 0) at = fcntl(fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
        size = offset < 0 ? real_writev(fd, parts, count) : real_pwritev(fd, parts, count, offset);
        if (ours && size > 0) put(WRITE, is_durable(fd), path, "", (uint64_t)at, parts, count, (size_t)size);
        if (ours && is_durable(fd) && slow) { pthread_mutex_unlock(&lock); usleep(slow); pthread_mutex_lock(&lock); }
    }
    if (ours) { int error = errno; pthread_mutex_unlock(&lock); errno = error; }
    return size;
}

ssize_t write(int fd, const void *data, size_t size) {
    struct iovec part = {(void *)data, size};
    char path[PATH_MAX];
    return named(fd, path) ? written(fd, &part, 1, -1) : real_write(fd, data, size);
}
ssize_t writev(int fd, const struct iovec *parts, int count) { return written(fd, parts, count, -1); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    struct iovec part = {(void *)data, size};
    return written(fd, &part, 1, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { return pwrite(fd, data, size, offset); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return written(fd, parts, count, offset); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { return pwritev(fd, parts, count, offset); }

static int read_fails(int fd) {
    char path[PATH_MAX];
    if (!named(fd, path) || ++reads != fail_read_at) return 0;
    errno = fail_read_error;
    return 1;
}
ssize_t read(int fd, void *data, size_t size) { return read_fails(fd) ? -1 : real_read(fd, data, size); }
ssize_t pread(int fd, void *data, size_t size, off_t offset) {
    return read_fails(fd) ? -1 : real_pread(fd, data, size, offset);
}
ssize_t pread64(int fd, void *data, size_t size, off64_t offset) { return pread(fd, data, size, offset); }

int ftruncate(int fd, off_t size) {
    char path[PATH_MAX];
    if (!named(fd, path)) return real_ftruncate(fd, size);
    pthread_mutex_lock(&lock);
    int result = fails(TRUNCATE) ? -1 : real_ftruncate(fd, size);
    if (!result) put(TRUNCATE, 0, path, "", (uint64_t)size, NULL, 0, 0);
    int error = errno; pthread_mutex_unlock(&lock); errno = error;
    return result;
}
int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

int renameat(int at, const char *from, int to_at, const char *to) {
    char path[PATH_MAX], other[PATH_MAX];
    if (!absolute(at, from, path) || !absolute(to_at, to, other)) return real_renameat(at, from, to_at, to);
    pthread_mutex_lock(&lock);
    int result = fails(RENAME) ? -1 : real_renameat(at, from, to_at, to);
    if (!result) put(RENAME, 0, path, other, 0, NULL, 0, 0);
    int error = errno; pthread_mutex_unlock(&lock); errno = error;
    return result;
}
int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int unlinkat(int at, const char *name, int flags) {
    char path[PATH_MAX];
    if (flags || !absolute(at, name, path)) return real_unlinkat(at, name, flags);
    pthread_mutex_lock(&lock);
    int result = fails(UNLINK) ? -1 : real_unlinkat(at, name, flags);
    if (!result) put(UNLINK, 0, path, "", 0, NULL, 0, 0);
    int error = errno; pthread_mutex_unlock(&lock); errno = error;
    return result;
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }

static int opened(int at, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    struct stat before;
    if (lazy) flags &= ~(O_DSYNC | (O_SYNC & ~O_DSYNC));
    if (!(flags & (O_CREAT | O_TRUNC)) || !absolute(at, name, path)) return real_openat(at, name, flags, mode);
    pthread_mutex_lock(&lock);
    int made = stat(path, &before) != 0, result = -1;
    /* One that is there and stays as it is changes nothing. */
    if (!made && !(flags & O_TRUNC)) result = real_openat(at, name, flags, mode);
    else if (!fails(CREATE)) {
        result = real_openat(at, name, flags, mode);
        if (result >= 0 && made) put(CREATE, 0, path, "", 0, NULL, 0, 0);
        else if (result >= 0) put(TRUNCATE, 0, path, "", 0, NULL, 0, 0);
    }
    int error = errno; pthread_mutex_unlock(&lock); errno = error;
    return result;
}
#define MODE(flags, mode) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
int open(const char *name, int flags, ...) { MODE(flags, mode) return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags, mode) return opened(AT_FDCWD, name, flags | O_LARGEFILE, mode); }
int openat(int at, const char *name, int flags, ...) { MODE(flags, mode) return opened(at, name, flags, mode); }
int openat64(int at, const char *name, int flags, ...) { MODE(flags, mode) return opened(at, name, flags | O_LARGEFILE, mode); }

static int synced(int fd, int (*real)(int)) {
    char path[PATH_MAX];
    if (!named(fd, path)) return lazy ? 0 : real(fd);
    if (slow) usleep(slow);
    pthread_mutex_lock(&lock);
    int result = fails(SYNC) ? -1 : lazy ? 0 : real(fd);
    if (!result) put(SYNC, 0, path, "", 0, NULL, 0, 0);
    int error = errno; pthread_mutex_unlock(&lock); errno = error;
    return result;
}
int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }
/* Nothing of ours is written through a map: the tests see to it that this is never called for our files. */
int msync(void *at, size_t size, int flags) {
    if (folder) { put('m', 0, folder, "", 0, NULL, 0, 0); }
    return real_msync(at, size, flags);
}
