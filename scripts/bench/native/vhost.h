// A virtio driver over /dev/vhost-net in C, laid out as the package's own: what the ring could
// reach without JavaScript.
#ifndef VHOST_H_
#define VHOST_H_

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  kHeaderAt = 4,
  kHeaderSize = 12,
  kPayloadAt = kHeaderAt + kHeaderSize,
  kPlainSlot = 1518,
  kOffloadSlot = 16384,
  kBatch = 32,
};

/// One vring and its slots: slot i belongs to descriptor i.
struct ring {
  uint16_t size;
  struct vring_desc* desc;
  struct vring_avail* avail;
  struct vring_used* used;
  uint16_t* used_event;
  volatile uint16_t* avail_event;
  uint8_t* slots;
  uint64_t guest_address;
  size_t stride;
  int kick;
  int call;
  uint16_t* free_ids;
  uint16_t first_free;
  uint16_t free;
  uint16_t next_avail;
  uint16_t published;
  uint16_t next_used;
};

/// One vhost descriptor, one tap, two rings.
struct port {
  int vhost;
  int tap;
  struct ring receive;
  struct ring transmit;
};

struct port_options {
  const char* tap;
  uint16_t ring_size;
  /// Bytes of frame that a slot holds.
  size_t slot;
  bool offloads;
};

void port_open(struct port* port, const struct port_options* options);

/// What a descriptor names: the header and the frame, or a further part of a frame.
static inline uint8_t* slot_buffer(const struct ring* ring, uint16_t id) {
  return ring->slots + id * ring->stride + kHeaderAt;
}

static inline uint8_t* slot_payload(const struct ring* ring, uint16_t id) {
  return ring->slots + id * ring->stride + kPayloadAt;
}

/// A free descriptor, the one that was freed first; -1: none.
static inline int ring_acquire(struct ring* ring) {
  if (ring->free == 0) return -1;
  const uint16_t id = ring->free_ids[ring->first_free];
  ring->first_free = (ring->first_free + 1) & (ring->size - 1);
  ring->free--;
  return id;
}

static inline void ring_release(struct ring* ring, uint16_t id) {
  ring->free_ids[(ring->first_free + ring->free) & (ring->size - 1)] = id;
  ring->free++;
}

/// Frees a chain.
static inline void ring_release_chain(struct ring* ring, uint16_t id) {
  while (ring->desc[id].flags & VRING_DESC_F_NEXT) {
    ring->desc[id].flags &= ~VRING_DESC_F_NEXT;
    ring_release(ring, id);
    id = ring->desc[id].next;
  }
  ring_release(ring, id);
}

static inline void ring_offer(struct ring* ring, uint16_t id) {
  ring->avail->ring[ring->next_avail++ & (ring->size - 1)] = id;
}

static inline uint16_t ring_in_flight(const struct ring* ring) {
  return ring->next_avail - ring->next_used;
}

/// How many chains the device has used and we have not taken.
static inline uint16_t ring_poll(const struct ring* ring) {
  return __atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE) - ring->next_used;
}

static inline struct vring_used_elem ring_take(struct ring* ring) {
  return ring->used->ring[ring->next_used++ & (ring->size - 1)];
}

/// Lets the device see what was offered, and wakes it when it asked for that.
void ring_publish(struct ring* ring);

/// Takes back what the device has transmitted; how many that were.
uint16_t ring_reclaim(struct ring* ring);

/// Asks for a call when `after` more chains are used; true: they are used already.
bool ring_arm(struct ring* ring, uint16_t after);

/// Asks for no calls.
void ring_disarm(struct ring* ring);

/// Sleeps until the device calls.
void ring_wait(struct ring* ring);

#endif  // VHOST_H_
