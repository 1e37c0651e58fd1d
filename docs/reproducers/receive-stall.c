// A frame that needs more buffers than all that are posted waits at the head of the ring, and every
// other behind it. Without mergeable buffers one that is longer than a buffer is dropped, and
// nobody counts it.
//   cc -O2 -o receive-stall receive-stall.c && sudo ./receive-stall
#include "vhost.h"

static void host_sends(int length) {
  uint8_t bytes[9014] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};
  TRY(send(wire, bytes, length, 0));
}

static long dropped(void) {
  char line[300];
  unsigned long d = 0;
  FILE *file = fopen("/proc/net/dev", "r");
  while (file && fgets(line, sizeof line, file))
    sscanf(line, " t0: %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %lu", &d);
  if (file) fclose(file);
  return (long)d;
}

int main(void) {
  open_tap(HEADER, 9000), open_vhost(VERSION_1 | MRG_RXBUF);
  run(RX, 1);
  offer(RX, 0, 1000), offer(RX, 1, 1000);
  host_sends(4000), host_sends(60);
  printf("2 buffers of 1000 bytes, frames of 4000 and 60: used %d, error events: %d\n",
         completed(RX, 1), events(err[RX]));
  for (int id = 2; id < 6; id++) offer(RX, id, 1000);
  printf("4 more buffers: used %d\n", completed(RX, 6));
  run(RX, 0);

  uint64_t features = VERSION_1;
  TRY(ioctl(vhost, VHOST_SET_FEATURES, &features));
  memset(&ring[RX], 0, sizeof ring[RX]);
  struct vhost_vring_state anew = {RX, 0};
  TRY(ioctl(vhost, VHOST_SET_VRING_BASE, &anew));
  run(RX, 1);
  offer(RX, 0, SLOT), offer(RX, 1, SLOT);
  const long before = dropped();
  host_sends(4000), host_sends(60);
  const int used = completed(RX, 1);
  printf(
      "not mergeable, 2 buffers of 2048 bytes, frames of 4000 and 60: used %d, of %u bytes, "
      "counted as dropped: %ld\n",
      used, ring[RX].used.ring[0].len, dropped() - before);
  return 0;
}
