// A chain that the worker can't make sense of: it signals the error eventfd, stays where it is, and
// leaves the ring asking for no kicks. A driver that heeds that never kicks again; one that kicks
// gets the same error. Linux 6.12 is worse with an avail index that is out of reach: at the next
// kick it believes it.
//   cc -O2 -o broken-ring broken-ring.c && sudo ./broken-ring
#include "vhost.h"

static void avail_index_out_of_reach(void) {
  ring[TX].avail.idx += 5000;
  TRY(eventfd_write(kick[TX], 1));
}

static void head_outside_the_ring(void) {
  offer(TX, 0, 0);
  ring[TX].avail.ring[(ring[TX].avail.idx - 1) % SIZE] = SIZE;
}

static void address_outside_the_memory_table(void) { ring[TX].desc[0].addr = 1ull << 40; }
static void chain_that_comes_back_to_itself(void) { ring[TX].desc[0].flags = VRING_DESC_F_NEXT; }
static void buffer_to_be_written(void) { ring[TX].desc[0].flags = VRING_DESC_F_WRITE; }
static void indirect_table_of_17_bytes(void) {
  ring[TX].desc[0].flags = VRING_DESC_F_INDIRECT, ring[TX].desc[0].len = 17;
}

// A ring that begins anew at the index that the device has reached.
static uint16_t begin_anew(void) {
  const uint16_t done = ring[TX].used.idx;
  struct vhost_vring_state state = {TX, done};
  run(TX, 0);
  ring[TX].used.flags = 0, ring[TX].avail.idx = done;
  TRY(ioctl(vhost, VHOST_SET_VRING_BASE, &state));
  return done;
}

static void tell(const char *what, int done) {
  const char *event = poll(&(struct pollfd){err[TX], POLLIN, 0}, 1, 1000) == 1 ? "yes" : "no";
  events(err[TX]);
  printf("%s: error event: %s, completed %d", what, event, completed(TX, done + 1) - done);
}

// The fault is put into a ring that is stopped, so that the worker finds it whole.
static void show(const char *what, void (*spoil)(void)) {
  const uint16_t done = begin_anew();
  send_frame(0);
  spoil();
  // Flushes the worker: a kick that found the ring stopped must not come behind its start.
  const int none = -1;
  TRY(ioctl(vhost, VHOST_SET_LOG_FD, &none));
  run(TX, 1);
  tell(what, done);
  TRY(eventfd_write(kick[TX], 1));
  tell("\n  kicked all the same", done);
  printf(", wants kicks: %s\n", ring[TX].used.flags & VRING_USED_F_NO_NOTIFY ? "no" : "yes");
}

// The avail ring lies in the same page: the frame is put there before, and kicked for afterwards.
static void show_used_ring_read_only(void) {
  uint8_t *page = (uint8_t *)&ring[TX] + 4096;
  const uint16_t done = begin_anew() + 1;
  run(TX, 1);
  send_frame(0);
  completed(TX, done);
  // Until the worker sleeps. Once in some thirty runs on 6.12 it does so asking for no kicks, and
  // takes one.
  for (long from = now_ms(); ring[TX].used.flags & VRING_USED_F_NO_NOTIFY || arrived();) {
    if (now_ms() - from < 1000) continue;
    TRY(eventfd_write(kick[TX], 1));
    from = now_ms();
  }
  ring[TX].avail.ring[done % SIZE] = 0, ring[TX].avail.idx = done + 1;
  TRY(mprotect(page, 4096, PROT_READ));
  TRY(eventfd_write(kick[TX], 1));
  tell("used ring that can't be written", done);
  printf(", arrived %d\n", arrived());
  TRY(mprotect(page, 4096, PROT_READ | PROT_WRITE));
}

int main(void) {
  start();
  show("avail index out of reach", avail_index_out_of_reach);
  show("head outside the ring", head_outside_the_ring);
  show("address outside the memory table", address_outside_the_memory_table);
  show("chain that comes back to itself", chain_that_comes_back_to_itself);
  show("buffer to be written", buffer_to_be_written);
  show("indirect table of 17 bytes", indirect_table_of_17_bytes);
  show_used_ring_read_only();
  const uint16_t done = begin_anew();
  run(TX, 1);
  send_frame(0);
  printf("stopped, begun anew: completed %d of 1\n", completed(TX, done + 1) - done);
  return 0;
}
