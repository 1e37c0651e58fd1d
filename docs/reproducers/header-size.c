// Driver, vhost and tap must agree on the length of the header before each frame, and nobody holds
// them to it: where they differ, what is received is lost and what is sent is shifted, without an
// error.
//   cc -O2 -o header-size header-size.c && sudo ./header-size
#include "vhost.h"

// How a frame came out whose EtherType is 88b5.
static void shape(const char *way, const uint8_t *bytes, int length) {
  printf("  %s: %d bytes, to %02x:%02x:%02x:…, type %02x%02x\n", way, length, bytes[0], bytes[1],
         bytes[2], bytes[12], bytes[13]);
}

// One frame each way; the driver has 12 bytes before each.
static void show(const char *what, int tap_size, uint64_t features) {
  uint8_t bytes[2048] = {255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};
  const int sent = ring[TX].used.idx, received = ring[RX].used.idx;
  TRY(ioctl(tap, TUNSETVNETHDRSZ, &tap_size));
  TRY(ioctl(vhost, VHOST_SET_FEATURES, &features));
  run(RX, 1), run(TX, 1);
  offer(RX, 0, SLOT);
  TRY(send(wire, bytes, 60, 0));
  const int used = completed(RX, received + 1) - received;
  printf("%s\n  receive: used %d, error events: %d\n", what, used, events(err[RX]));
  if (used)
    shape("receive", pool[RX][0] + HEADER, ring[RX].used.ring[received % SIZE].len - HEADER);
  send_frame(0);
  completed(TX, sent + 1);
  poll(&(struct pollfd){wire, POLLIN, 0}, 1, 300);
  const int length = recv(wire, bytes, sizeof bytes, 0);
  shape("transmit", bytes, length);
  run(RX, 0), run(TX, 0);
}

int main(void) {
  const int ours_only = 1;
  open_tap(HEADER, 1500), open_vhost(VERSION_1 | MRG_RXBUF);
  TRY(setsockopt(wire, SOL_PACKET, PACKET_IGNORE_OUTGOING, &ours_only, sizeof ours_only));
  show("tap 12, vhost 12", 12, VERSION_1 | MRG_RXBUF);
  show("tap 10, vhost 12", 10, VERSION_1 | MRG_RXBUF);
  show("tap 12, vhost 10", 12, 0);
  // Bit 27 is ANY_LAYOUT to a driver; to vhost-net it says: the header is yours to make and to
  // take.
  show("tap 12, vhost 12, bit 27", 12, VERSION_1 | MRG_RXBUF | 1ull << VHOST_NET_F_VIRTIO_NET_HDR);
  return 0;
}
