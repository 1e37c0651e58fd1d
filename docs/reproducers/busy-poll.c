// A worker that polls keeps whoever changes its ring waiting (Linux 7): for as long as it was told
// to poll.
//   cc -O2 -o busy-poll busy-poll.c && sudo ./busy-poll
#include "vhost.h"

enum { POLL_US = 2000000, TRIES = 5 };

// Milliseconds that it takes to name the ring's kick eventfd once more.
static long change(void) {
  struct vhost_vring_file file = {TX, kick[TX]};
  const long began = now_ms();
  TRY(ioctl(vhost, VHOST_SET_VRING_KICK, &file));
  return now_ms() - began;
}

static void told_to_poll(unsigned microseconds) {
  struct vhost_vring_state time = {TX, microseconds};
  TRY(ioctl(vhost, VHOST_SET_VRING_BUSYLOOP_TIMEOUT, &time));
}

// The longest of some: another task on the worker's CPU may end the polling.
static long longest(void) {
  long most = 0;
  for (int i = 0; i < TRIES && most < POLL_US / 2000; i++) {
    const int done = ring[TX].used.idx;
    send_frame(0), completed(TX, done + 1);
    const long took = change();
    if (took > most) most = took;
  }
  return most;
}

int main(void) {
  start();
  printf("a worker that does not poll: %s\n", longest() < POLL_US / 2000 ? "at once" : "waits");
  told_to_poll(POLL_US);
  printf("one that polls for 2 s: %s\n", longest() < POLL_US / 2000 ? "at once" : "waits");
  return 0;
}
