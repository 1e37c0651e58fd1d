// Since Linux 6.4 a worker has, for good, the rights to memory by protection key (pkeys(7)) of the
// thread that called for it; before, those of a kernel thread. Needs a processor with such keys.
//   cc -O2 -o worker-rights worker-rights.c && sudo ./worker-rights
#include "vhost.h"

enum { NONE = PKEY_DISABLE_ACCESS, ALL = 0 };

// Sends one frame from memory with a key, by a worker that was called for with some rights to it,
// while the caller has others.
static void attempt(const char *what, int key, int then, int now) {
  if (fork() != 0) {
    TRY(wait(NULL));
    return;
  }
  frame(0);
  TRY(pkey_mprotect(pool, sizeof pool, PROT_READ | PROT_WRITE, key));
  open_tap(HEADER, 1500);
  TRY(pkey_set(key, then));
  open_vhost(VERSION_1 | MRG_RXBUF);
  TRY(pkey_set(key, now));
  run(TX, 1);
  offer(TX, 0, HEADER + 60);
  completed(TX, 1);
  printf("%s: arrived %d\n", what, arrived());
  exit(0);
}

int main(void) {
  const int key = TRY(pkey_alloc(0, ALL));
  setvbuf(stdout, NULL, _IONBF, 0);
  attempt("called for with the right, which the caller keeps", key, ALL, ALL);
  attempt("called for with the right, which is taken from the caller", key, ALL, NONE);
  attempt("called for without the right, which the caller then gets", key, NONE, ALL);
  return 0;
}
