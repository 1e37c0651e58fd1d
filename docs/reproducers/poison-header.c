// A frame whose virtio-net header the tap refuses is put back and tried again, for ever: the frames
// behind it wait, the worker burns a CPU, and no event says so.
//   cc -O2 -o poison-header poison-header.c && sudo ./poison-header
#include "vhost.h"

// Three good frames behind a bad one; then the bad one is mended, as a driver can that has stopped
// the ring.
static void show(const char *what, void (*spoil)(void), int done) {
  frame(0), spoil();
  for (int id = 1; id < 4; id++) send_frame(id);
  printf("%s\n", what);
  printf("  worker spins: %s\n", spins(TX, done + 4) ? "yes" : "no");
  printf("  completed: %d of 4, error events: %d\n", completed(TX, done + 4) - done,
         events(err[TX]));
  run(TX, 0);
  printf("  stopped: the worker was at frame %d\n", base(TX) - done);
  frame(0), ring[TX].desc[0].len = HEADER + 60;
  run(TX, 1);
  printf("  header mended, started again: completed %d of 4\n", completed(TX, done + 4) - done);
}

static void checksum_outside(void) {
  struct virtio_net_hdr_v1 *header = frame(0);
  header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header->csum_start = 60, header->csum_offset = 16;
  offer(TX, 0, HEADER + 60);
}

static void long_headers(void) {
  frame(0)->hdr_len = 1000;
  offer(TX, 0, HEADER + 60);
}

static void shorter_than_header(void) { offer(TX, 0, HEADER - 4); }

static void no_ethernet_header(void) { offer(TX, 0, HEADER + 13); }

int main(void) {
  start();
  show("a checksum outside the frame", checksum_outside, 0);
  show("hdr_len longer than the frame", long_headers, 4);
  show("a chain shorter than the virtio-net header", shorter_than_header, 8);
  show("a frame shorter than an Ethernet header", no_ethernet_header, 12);
  return 0;
}
