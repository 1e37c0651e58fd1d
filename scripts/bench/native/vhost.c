#include "vhost.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

static size_t align_up(size_t value, size_t to) { return (value + to - 1) / to * to; }

/// Whole cache lines, and an odd number of them.
static size_t stride_for(size_t length) {
  const size_t lines = align_up(length, 64) / 64;
  return 64 * (lines % 2 == 0 ? lines + 1 : lines);
}

static size_t ring_bytes(uint16_t size) {
  const size_t used = align_up(16 * size + 4 + 2 * size + 2, 64);
  return align_up(used + 4 + 8 * size + 2, 128);
}

static void* map(size_t length) {
  void* pages =
      mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (pages == MAP_FAILED) die("mmap");
  return pages;
}

static void ring_init(struct ring* ring, uint16_t size, uint8_t* at) {
  ring->size = size;
  ring->desc = (struct vring_desc*)at;
  ring->avail = (struct vring_avail*)(at + 16 * size);
  ring->used_event = &ring->avail->ring[size];
  ring->used = (struct vring_used*)(at + align_up(16 * size + 4 + 2 * size + 2, 64));
  ring->avail_event = (volatile uint16_t*)&ring->used->ring[size];
  ring->kick = check(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd");
  ring->call = check(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd");
  ring->free_ids = calloc(size, sizeof *ring->free_ids);
  for (uint16_t id = 0; id < size; id++) ring_release(ring, id);
}

static void slots_init(struct ring* ring, uint8_t* pool, size_t offset, size_t stride,
                       uint32_t length, uint16_t flags) {
  ring->slots = pool + offset;
  ring->guest_address = offset;
  ring->stride = stride;
  for (uint16_t id = 0; id < ring->size; id++) {
    ring->desc[id] = (struct vring_desc){offset + id * stride + kHeaderAt, length, flags, 0};
  }
}

static void request(int vhost, unsigned long number, const void* argument, const char* name) {
  check(ioctl(vhost, number, argument), name);
}

static void ring_attach(const struct port* port, const struct ring* ring, unsigned index) {
  const struct vhost_vring_state num = {index, ring->size}, base = {index, 0};
  const struct vhost_vring_addr addr = {
      .index = index,
      .desc_user_addr = (uintptr_t)ring->desc,
      .used_user_addr = (uintptr_t)ring->used,
      .avail_user_addr = (uintptr_t)ring->avail,
  };
  const struct vhost_vring_file kick = {index, ring->kick}, call = {index, ring->call};
  request(port->vhost, VHOST_SET_VRING_NUM, &num, "VHOST_SET_VRING_NUM");
  request(port->vhost, VHOST_SET_VRING_BASE, &base, "VHOST_SET_VRING_BASE");
  request(port->vhost, VHOST_SET_VRING_ADDR, &addr, "VHOST_SET_VRING_ADDR");
  request(port->vhost, VHOST_SET_VRING_KICK, &kick, "VHOST_SET_VRING_KICK");
  request(port->vhost, VHOST_SET_VRING_CALL, &call, "VHOST_SET_VRING_CALL");
}

static void port_memory(const struct port* port, uint8_t* pool, size_t length) {
  struct {
    struct vhost_memory head;
    struct vhost_memory_region region;
  } table = {{.nregions = 1}, {0, length, (uintptr_t)pool, 0}};
  request(port->vhost, VHOST_SET_MEM_TABLE, &table, "VHOST_SET_MEM_TABLE");
}

static void tap_set_up(int tap, bool offloads) {
  const int header = kHeaderSize, limit = INT_MAX;
  const unsigned accepted = offloads ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN : 0;
  check(ioctl(tap, TUNSETVNETHDRSZ, &header), "TUNSETVNETHDRSZ");
  check(ioctl(tap, TUNSETSNDBUF, &limit), "TUNSETSNDBUF");
  check(ioctl(tap, TUNSETOFFLOAD, accepted), "TUNSETOFFLOAD");
}

void port_open(struct port* port, const struct port_options* options) {
  const uint16_t size = options->ring_size;
  const size_t stride = stride_for(kPayloadAt + options->slot);
  uint8_t* rings = map(2 * ring_bytes(size));
  uint8_t* pool = map(2 * size * stride);
  port->tap = open_tap(options->tap, true);
  tap_set_up(port->tap, options->offloads);
  ring_init(&port->receive, size, rings);
  ring_init(&port->transmit, size, rings + ring_bytes(size));
  slots_init(&port->receive, pool, 0, stride, stride - kHeaderAt, VRING_DESC_F_WRITE);
  slots_init(&port->transmit, pool, size * stride, stride, kHeaderSize, 0);
  port->vhost = check(open("/dev/vhost-net", O_RDWR | O_CLOEXEC), "/dev/vhost-net");
  const uint64_t features =
      1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_NET_F_MRG_RXBUF | 1ULL << VIRTIO_RING_F_EVENT_IDX;
  request(port->vhost, VHOST_SET_OWNER, NULL, "VHOST_SET_OWNER");
  request(port->vhost, VHOST_SET_FEATURES, &features, "VHOST_SET_FEATURES");
  port_memory(port, pool, 2 * size * stride);
  ring_attach(port, &port->receive, 0);
  ring_attach(port, &port->transmit, 1);
  for (unsigned index = 0; index < 2; index++) {
    const struct vhost_vring_file backend = {index, port->tap};
    request(port->vhost, VHOST_NET_SET_BACKEND, &backend, "VHOST_NET_SET_BACKEND");
  }
}

void ring_publish(struct ring* ring) {
  const uint16_t old = ring->published, fresh = ring->next_avail;
  if (old == fresh) return;
  ring->published = fresh;
  // An exchange: it also orders the load behind it, as vhost does with its own store and load.
  __atomic_store_n(&ring->avail->idx, fresh, __ATOMIC_SEQ_CST);
  const uint16_t event = __atomic_load_n(ring->avail_event, __ATOMIC_SEQ_CST);
  if (vring_need_event(event, fresh, old)) eventfd_write(ring->kick, 1);
}

uint16_t ring_reclaim(struct ring* ring) {
  const uint16_t count = ring_poll(ring);
  for (uint16_t i = 0; i < count; i++) ring_release_chain(ring, ring_take(ring).id);
  return count;
}

bool ring_arm(struct ring* ring, uint16_t after) {
  __atomic_store_n(ring->used_event, (uint16_t)(ring->next_used + after - 1), __ATOMIC_SEQ_CST);
  const uint16_t used = __atomic_load_n(&ring->used->idx, __ATOMIC_SEQ_CST);
  return (uint16_t)(used - ring->next_used) >= after;
}

void ring_disarm(struct ring* ring) {
  __atomic_store_n(ring->used_event, (uint16_t)(ring->next_used - 1), __ATOMIC_RELEASE);
}

void ring_wait(struct ring* ring) {
  struct pollfd poller = {ring->call, POLLIN, 0};
  check(poll(&poller, 1, -1), "poll");
  eventfd_t count;
  eventfd_read(ring->call, &count);
}
