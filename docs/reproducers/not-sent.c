// A used transmit buffer does not mean that the frame was sent: what the tap refuses later than at
// its header is completed like any other, without an error event. And nobody holds a frame to the
// MTU.
//   cc -O2 -o not-sent not-sent.c && sudo ./not-sent
#include "vhost.h"

static void show(const char *what, int length) {
  const int done = ring[TX].used.idx;
  offer(TX, 0, HEADER + length);
  const int completions = completed(TX, done + 1) - done;
  printf("%s: completed %d, arrived %d, error events: %d\n", what, completions, arrived(),
         events(err[TX]));
}

static void link_is(int up) {
  struct ifreq request = {.ifr_name = "t0", .ifr_flags = up ? IFF_UP : 0};
  TRY(ioctl(wire, SIOCSIFFLAGS, &request));
}

int main(void) {
  start();
  frame(0);
  show("good", 60);
  struct virtio_net_hdr_v1 *header = frame(0);
  header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, header->csum_start = 34, header->csum_offset = 16;
  header->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
  show("a GSO type without a gso_size", 1000);
  frame(0)->gso_type = 0x7f;
  show("a GSO type that does not exist", 1000);
  link_is(0);
  frame(0);
  show("the link is down", 60);
  link_is(1);
  recv(wire, (char[16]){0}, 16, 0);  // the socket's ENETDOWN
  show("the link is up again", 60);
  show("longer than the MTU of 1500", 1900);
  return 0;
}
