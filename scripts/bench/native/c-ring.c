// The package's ring in C. Usage: c-ring tx copy|inplace TAP LENGTH
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "vhost.h"

enum { kRingSize = 1024, kLongest = 65553, kCounterAt = 42 };

/// Sleeps until three quarters of the ring are used: then there is room worth waking for.
static void wait_for_room(struct ring* ring) {
  ring_publish(ring);
  if (!ring_arm(ring, ring_in_flight(ring) * 3 / 4)) ring_wait(ring);
  ring_disarm(ring);
}

static uint16_t take_slot(struct ring* ring) {
  int id = ring_acquire(ring);
  while (id < 0) {
    if (ring_reclaim(ring) == 0) wait_for_room(ring);
    id = ring_acquire(ring);
  }
  return id;
}

static void transmit(struct port* port, size_t length, bool copying) {
  static uint8_t frame[kLongest];
  struct ring* ring = &port->transmit;
  uint32_t counter = 0;
  fill_frame(frame, length);
  for (uint16_t id = 0; id < ring->size; id++) fill_frame(slot_payload(ring, id), length);
  ring_disarm(ring);
  ready();
  for (uint16_t staged = 0;;) {
    const uint16_t id = take_slot(ring);
    uint8_t* payload = slot_payload(ring, id);
    ring->desc[id].len = kHeaderSize + length;
    if (copying) memcpy(payload, frame, length);
    else memcpy(payload + kCounterAt, &counter, sizeof counter);
    counter++;
    memset(payload - kHeaderSize, 0, kHeaderSize);
    ring_offer(ring, id);
    if (++staged == kBatch) {
      staged = 0;
      ring_publish(ring);
    }
  }
}

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  struct port port;
  memset(&port, 0, sizeof port);
  port_open(&port, &(struct port_options){.tap = argv[3], .ring_size = kRingSize});
  transmit(&port, atoi(argv[4]), strcmp(argv[2], "copy") == 0);
}
