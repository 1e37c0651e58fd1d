// What the reproducers have in common: one tap in a network namespace of the process's own, one
// vhost-net descriptor with two rings of SIZE descriptors, slot i for descriptor i, guest addresses
// counted from `pool`.
#ifndef VHOST_H
#define VHOST_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RX, TX, SIZE = 256, SLOT = 2048, HEADER = 12 };
#define VERSION_1 (1ull << 32)
#define MRG_RXBUF (1ull << VIRTIO_NET_F_MRG_RXBUF)

static struct ring {
  struct vring_desc desc[SIZE];
  struct {
    uint16_t flags, idx, ring[SIZE + 1];
  } avail;
  struct {
    uint16_t flags, idx;
    struct vring_used_elem ring[SIZE + 1];
  } used;
} __attribute__((aligned(4096))) ring[2];
static uint8_t pool[2][SIZE][SLOT] __attribute__((aligned(4096)));
static int vhost, tap, wire, kick[2], call[2], err[2];

#define MAYBE __attribute__((unused))
#define TRY(call) try_((long)(call), #call)
static MAYBE long try_(long result, const char *what) {
  if (result < 0) {
    perror(what);
    exit(1);
  }
  return result;
}

static MAYBE uint64_t guest(const void *at) { return (uint64_t)((const uint8_t *)at - pool[0][0]); }

static MAYBE long now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// A tap "t0" that is up, and a packet socket: what it receives the tap's host side received.
static MAYBE void open_tap(int header_size, int mtu) {
  struct ifreq request = {.ifr_name = "t0", .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
  TRY(unshare(CLONE_NEWNET));
  int no_ipv6 = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY);
  if (no_ipv6 >= 0) TRY(write(no_ipv6, "1", 1)), close(no_ipv6);
  tap = TRY(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  TRY(ioctl(tap, TUNSETIFF, &request));
  TRY(ioctl(tap, TUNSETVNETHDRSZ, &header_size));
  wire = TRY(socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL)));
  request.ifr_mtu = mtu;
  TRY(ioctl(wire, SIOCSIFMTU, &request));
  request.ifr_flags = IFF_UP;
  TRY(ioctl(wire, SIOCSIFFLAGS, &request));
  struct sockaddr_ll at = {.sll_family = AF_PACKET,
                           .sll_protocol = htons(ETH_P_ALL),
                           .sll_ifindex = if_nametoindex("t0")};
  TRY(bind(wire, (struct sockaddr *)&at, sizeof at));
}

static MAYBE void set_up(int index) {
  struct vhost_vring_state size = {index, SIZE}, base = {index, ring[index].used.idx};
  struct vhost_vring_addr parts = {.index = index,
                                   .desc_user_addr = (uintptr_t)ring[index].desc,
                                   .used_user_addr = (uintptr_t)&ring[index].used,
                                   .avail_user_addr = (uintptr_t)&ring[index].avail};
  struct vhost_vring_file file = {index, kick[index] = eventfd(0, EFD_NONBLOCK)};
  TRY(ioctl(vhost, VHOST_SET_VRING_NUM, &size));
  TRY(ioctl(vhost, VHOST_SET_VRING_BASE, &base));
  TRY(ioctl(vhost, VHOST_SET_VRING_ADDR, &parts));
  TRY(ioctl(vhost, VHOST_SET_VRING_KICK, &file));
  file.fd = call[index] = eventfd(0, EFD_NONBLOCK);
  TRY(ioctl(vhost, VHOST_SET_VRING_CALL, &file));
  file.fd = err[index] = eventfd(0, EFD_NONBLOCK);
  TRY(ioctl(vhost, VHOST_SET_VRING_ERR, &file));
}

static MAYBE void open_vhost(uint64_t features) {
  struct {
    struct vhost_memory head;
    struct vhost_memory_region region;
  } table = {{1, 0}, {0, sizeof pool, (uintptr_t)pool, 0}};
  vhost = TRY(open("/dev/vhost-net", O_RDWR | O_CLOEXEC));
  TRY(ioctl(vhost, VHOST_SET_OWNER));
  TRY(ioctl(vhost, VHOST_SET_FEATURES, &features));
  TRY(ioctl(vhost, VHOST_SET_MEM_TABLE, &table));
  set_up(RX), set_up(TX);
}

static MAYBE void run(int index, int on) {
  struct vhost_vring_file file = {index, on ? tap : -1};
  TRY(ioctl(vhost, VHOST_NET_SET_BACKEND, &file));
}

static MAYBE void start(void) {
  open_tap(HEADER, 1500), open_vhost(VERSION_1 | MRG_RXBUF);
  run(RX, 1), run(TX, 1);
}

static MAYBE uint16_t base(int index) {
  struct vhost_vring_state state = {index, 0};
  TRY(ioctl(vhost, VHOST_GET_VRING_BASE, &state));
  return state.num;
}

// Offers descriptor `id` with `length` bytes of its slot, and kicks.
static MAYBE void offer(int index, int id, uint32_t length) {
  struct ring *r = &ring[index];
  r->desc[id] =
      (struct vring_desc){guest(pool[index][id]), length, index == RX ? VRING_DESC_F_WRITE : 0, 0};
  r->avail.ring[r->avail.idx % SIZE] = id;
  __atomic_store_n(&r->avail.idx, r->avail.idx + 1, __ATOMIC_SEQ_CST);
  TRY(eventfd_write(kick[index], 1));
}

// A broadcast of an EtherType for experiments, in slot `id` behind a header of zeros.
static MAYBE struct virtio_net_hdr_v1 *frame(int id) {
  static const uint8_t ethernet[14] = {255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 2, 0x88, 0xb5};
  memset(pool[TX][id], 0, HEADER);
  memcpy(pool[TX][id] + HEADER, ethernet, sizeof ethernet);
  return (struct virtio_net_hdr_v1 *)pool[TX][id];
}

static MAYBE void send_frame(int id) { frame(id), offer(TX, id, HEADER + 60); }

// How many the device has completed: as soon as it is `wanted`, or after 300 ms.
static MAYBE int completed(int index, int wanted) {
  const long until = now_ms() + 300;
  uint16_t idx;
  while ((idx = __atomic_load_n(&ring[index].used.idx, __ATOMIC_ACQUIRE)) != wanted &&
         now_ms() < until)
    poll(&(struct pollfd){call[index], POLLIN, 0}, 1, 10);
  return idx;
}

static MAYBE int events(int fd) {
  eventfd_t count = 0;
  return eventfd_read(fd, &count) == 0 ? (int)count : 0;
}

// How many frames the host side has received since the last time; waits up to 100 ms for the first.
static MAYBE int arrived(void) {
  uint8_t bytes[65536];
  poll(&(struct pollfd){wire, POLLIN, 0}, 1, 100);
  struct sockaddr_ll from;
  socklen_t length = sizeof from;
  int count = 0;
  while (recvfrom(wire, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &length) >= 0)
    count += from.sll_pkttype != PACKET_OUTGOING;
  return count;
}

// Nanoseconds of CPU time of the worker: a thread of this process, before Linux 6.4 one of the
// kernel's.
static MAYBE int64_t worker_cpu(void) {
  char wanted[32], path[300], name[32] = "";
  long long ns = -1;
  snprintf(wanted, sizeof wanted, "vhost-%d\n", getpid());
  for (int i = 0; i < 2 && ns < 0; i++) {
    const char *folder = i == 0 ? "/proc/self/task" : "/proc";
    DIR *all = opendir(folder);
    for (struct dirent *one; all && ns < 0 && (one = readdir(all));) {
      snprintf(path, sizeof path, "%s/%.200s/comm", folder, one->d_name);
      FILE *file = fopen(path, "r");
      if (!file) continue;
      if (fgets(name, sizeof name, file) && strcmp(name, wanted) == 0) {
        snprintf(path, sizeof path, "%s/%.200s/schedstat", folder, one->d_name);
        FILE *times = fopen(path, "r");
        if (!times || fscanf(times, "%lld", &ns) != 1) ns = -1;
        if (times) fclose(times);
      }
      fclose(file);
    }
    if (all) closedir(all);
  }
  return ns;
}

// Whether the worker uses 100 ms of CPU time before it has completed that many.
static MAYBE int spins(int index, int wanted) {
  const int64_t from = worker_cpu();
  while (__atomic_load_n(&ring[index].used.idx, __ATOMIC_ACQUIRE) != wanted) {
    if (worker_cpu() - from > 100000000) return 1;
    poll(NULL, 0, 10);
  }
  return 0;
}
#endif
