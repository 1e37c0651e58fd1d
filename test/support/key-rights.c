// Preloaded into a program: tells which rights to memory by protection key a thread has when it
// makes certain requests. A line each: the request and PKRU.
#include <linux/vhost.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

// So that the program has rights of its own, which what it makes may or may not inherit. V8 takes a
// key only in some versions of Node.
__attribute__((constructor)) static void take_key(void) { syscall(SYS_pkey_alloc, 0, 0); }

static unsigned rights(void) {
  unsigned low, high;
  __asm__ volatile("rdpkru" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

static void tell(const char* request) { dprintf(STDOUT_FILENO, "%s %08x\n", request, rights()); }

int ioctl(int fd, unsigned long request, ...) {
  va_list rest;
  va_start(rest, request);
  void* const argument = va_arg(rest, void*);
  va_end(rest);
  // Some C libraries declare requests as int.
  const unsigned number = request;
  if (number == VHOST_GET_FEATURES) tell("VHOST_GET_FEATURES");
  if (number == VHOST_SET_OWNER) tell("VHOST_SET_OWNER");
  return syscall(SYS_ioctl, fd, request, argument);
}
