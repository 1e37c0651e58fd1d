// Ring addresses are checked for their alignment and for being addresses of user space, not for
// what is there: the worker reads and writes wherever it was told.
//   cc -O2 -o addresses addresses.c && sudo ./addresses
#include "vhost.h"

static const char *tell(int index, const void *desc, const void *avail, const void *used) {
  struct vhost_vring_addr parts = {.index = index,
                                   .desc_user_addr = (uintptr_t)desc,
                                   .used_user_addr = (uintptr_t)used,
                                   .avail_user_addr = (uintptr_t)avail};
  struct vhost_vring_file file = {index, tap};
  if (ioctl(vhost, VHOST_SET_VRING_ADDR, &parts) < 0) return "VHOST_SET_VRING_ADDR refuses";
  return ioctl(vhost, VHOST_NET_SET_BACKEND, &file) < 0 ? "VHOST_NET_SET_BACKEND refuses"
                                                        : "accepted";
}

int main(void) {
  static uint8_t diary[4096] __attribute__((aligned(4096)));
  uint8_t *nothing = mmap(NULL, 16384, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct vhost_vring_file none = {TX, -1};
  open_tap(HEADER, 1500);

  vhost = TRY(open("/dev/vhost-net", O_RDWR | O_CLOEXEC));
  TRY(ioctl(vhost, VHOST_SET_OWNER));
  printf("stop without a memory table: %s\n",
         ioctl(vhost, VHOST_NET_SET_BACKEND, &none) < 0 ? "refused" : "done");
  close(vhost);

  open_vhost(VERSION_1 | MRG_RXBUF);
  printf("used ring where nothing is: %s\n", tell(TX, ring[TX].desc, &ring[TX].avail, nothing));
  printf("descriptors and avail ring where nothing is: %s",
         tell(TX, nothing, nothing + 8192, &ring[TX].used));
  TRY(eventfd_write(kick[TX], 1));
  printf(", error event: %s\n",
         poll(&(struct pollfd){err[TX], POLLIN, 0}, 1, 1000) == 1 ? "yes" : "no");
  run(TX, 0);

  printf("used ring over the program's own data: %s",
         tell(TX, ring[TX].desc, &ring[TX].avail, diary));
  send_frame(0);
  poll(&(struct pollfd){call[TX], POLLIN, 0}, 1, 1000);
  run(TX, 0);
  printf(", data overwritten: %s\n", diary[2] ? "yes" : "no");
  return 0;
}
