// VIRTIO_F_VERSION_1 without mergeable buffers: num_buffers must be 1. Older kernels do not write
// it: the driver reads what was in the buffer before.
//   cc -O2 -o buffer-count buffer-count.c && sudo ./buffer-count
#include "vhost.h"

static void show(const char *what, uint64_t features) {
  const uint8_t bytes[60] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};
  const struct virtio_net_hdr_v1 *header = (struct virtio_net_hdr_v1 *)pool[RX][0];
  const int done = ring[RX].used.idx;
  TRY(ioctl(vhost, VHOST_SET_FEATURES, &features));
  run(RX, 1);
  memset(pool[RX][0], 0xee, HEADER);
  offer(RX, 0, SLOT);
  TRY(send(wire, bytes, sizeof bytes, 0));
  const int used = completed(RX, done + 1) - done;
  printf("%s: used %d, num_buffers 0x%x\n", what, used, header->num_buffers);
  run(RX, 0);
}

int main(void) {
  open_tap(HEADER, 1500), open_vhost(VERSION_1);
  show("mergeable", VERSION_1 | MRG_RXBUF);
  show("not mergeable", VERSION_1);
  return 0;
}
