// The package's ring in C. Usage: c-ring KIND copy|inplace LENGTH TAP...
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "bench.h"
#include "vhost.h"

enum {
  kRingSize = 1024,
  kLongRingSize = 256,
  kReceiveRingSize = 256,
  kLongest = 65553,
  kCounterAt = 42,
  kReceiveBatch = 64
};

/// What the programs of the benchmark are told.
struct task {
  const char* kind;
  bool copying;
  size_t length;
};

static bool is(const struct task* task, const char* kind) { return strcmp(task->kind, kind) == 0; }

/// Sleeps until three quarters of the ring are used: then there is room worth waking for.
static void wait_for_room(struct ring* ring) {
  ring_publish(ring);
  if (!ring_arm(ring, ring_in_flight(ring) * 3 / 4)) ring_wait(ring);
  ring_disarm(ring);
}

static void make_room(struct ring* ring) {
  while (ring->free == 0) {
    if (ring_reclaim(ring) == 0) wait_for_room(ring);
  }
}

static void offer(struct ring* ring, uint16_t id, uint16_t* staged) {
  ring_offer(ring, id);
  if (++*staged < kBatch) return;
  *staged = 0;
  ring_publish(ring);
}

static void transmit(struct ring* ring, const struct task* task) {
  static uint8_t frame[kLongest], header[kHeaderSize];
  uint32_t counter = 0;
  if (is(task, "gso")) fill_gso_header(header);
  (is(task, "gso") ? fill_gso_frame : fill_frame)(frame, task->length);
  for (uint16_t id = 0; id < ring->size; id++) memcpy(slot_payload(ring, id), frame, task->length);
  ready();
  for (uint16_t staged = 0;;) {
    make_room(ring);
    const uint16_t id = ring_acquire(ring);
    uint8_t* payload = slot_payload(ring, id);
    ring->desc[id].len = kHeaderSize + task->length;
    if (task->copying)
      memcpy(payload, frame, task->length);
    else
      memcpy(payload + kCounterAt, &counter, sizeof counter);
    counter++;
    memcpy(payload - kHeaderSize, header, kHeaderSize);
    offer(ring, id, &staged);
  }
}

static void post_all(struct ring* ring) {
  for (int id = ring_acquire(ring); id >= 0; id = ring_acquire(ring)) ring_offer(ring, id);
  ring_publish(ring);
}

/// What is to be done with the buffers of one received frame, before they are posted again.
typedef void handler(const struct ring* from, const struct vring_used_elem* buffers, int count,
                     void* argument);

static int buffer_count(const struct ring* ring, uint16_t head) {
  const uint8_t* buffer = slot_buffer(ring, head);
  const int count = buffer[10] | buffer[11] << 8;
  return count == 0 ? 1 : count;
}

/// Up to a batch of frames; how many there were.
static int receive(struct ring* ring, handler* handle, void* argument) {
  struct vring_used_elem buffers[64];
  int frames = 0;
  for (int used = ring_poll(ring); used > 0 && frames < kReceiveBatch; frames++) {
    buffers[0] = ring_take(ring);
    const int count = buffer_count(ring, buffers[0].id);
    for (int i = 1; i < count; i++) buffers[i] = ring_take(ring);
    used -= count;
    handle(ring, buffers, count, argument);
    for (int i = 0; i < count; i++) ring_offer(ring, buffers[i].id);
  }
  ring_publish(ring);
  return frames;
}

static void wait_for_any(struct port* ports, int count) {
  struct pollfd pollers[2];
  for (int i = 0; i < count; i++) {
    if (ring_arm(&ports[i].receive, 1)) return;
    pollers[i] = (struct pollfd){ports[i].receive.call, POLLIN, 0};
  }
  check(poll(pollers, count, -1), "poll");
  eventfd_t value;
  for (int i = 0; i < count; i++) eventfd_read(ports[i].receive.call, &value);
}

static void count_frame(const struct ring* from, const struct vring_used_elem* buffers, int count,
                        void* argument) {
  (void)from;
  for (int i = 0; i < count; i++) *(volatile uint64_t*)argument += buffers[i].len;
}

/// Copies a frame as it is, slot by slot. Without room it is lost, as in any switch.
static void forward_frame(const struct ring* from, const struct vring_used_elem* buffers, int count,
                          void* argument) {
  struct ring* to = argument;
  if (to->free < count && (ring_reclaim(to), to->free < count)) return;
  uint16_t head = 0;
  for (int i = 0, before = 0; i < count; i++) {
    const uint16_t id = ring_acquire(to);
    memcpy(slot_buffer(to, id), slot_buffer(from, buffers[i].id), buffers[i].len);
    to->desc[id].len = buffers[i].len;
    if (i == 0) {
      head = id;
    } else {
      to->desc[before].flags |= VRING_DESC_F_NEXT;
      to->desc[before].next = id;
    }
    before = id;
  }
  uint8_t* header = slot_buffer(to, head);
  header[0] &= 1;  // NEEDS_CSUM; the rest is told to receivers only
  header[10] = header[11] = 0;
  ring_offer(to, head);
}

static void answer(const struct ring* from, const struct vring_used_elem* buffers, int count,
                   void* argument) {
  const size_t length = buffers[0].len - kHeaderSize;
  if (count == 1 && make_echo_reply(slot_payload(from, buffers[0].id), length))
    forward_frame(from, buffers, count, argument);
}

static void receive_for_ever(struct port* port) {
  uint64_t bytes = 0;
  ready();
  for (;;) {
    if (receive(&port->receive, count_frame, &bytes) == 0) wait_for_any(port, 1);
  }
}

static void answer_for_ever(struct port* port) {
  ready();
  for (;;) {
    const int frames = receive(&port->receive, answer, &port->transmit);
    ring_publish(&port->transmit);
    if (frames == 0) wait_for_any(port, 1);
  }
}

static void forward_for_ever(struct port ports[2]) {
  ready();
  for (;;) {
    int frames = 0;
    for (int i = 0; i < 2; i++) {
      frames += receive(&ports[i].receive, forward_frame, &ports[1 - i].transmit);
      ring_publish(&ports[1 - i].transmit);
    }
    if (frames == 0) wait_for_any(ports, 2);
  }
}

int main(int argc, char** argv) {
  static struct port ports[2];
  if (argc < 5) return 2;
  const struct task task = {argv[1], strcmp(argv[2], "copy") == 0, atoi(argv[3])};
  for (int i = 0; i < argc - 4 && i < 2; i++) {
    const bool is_long = is(&task, "gso");
    const uint16_t size = is_long ? kLongRingSize : is(&task, "rx") ? kReceiveRingSize : kRingSize;
    const size_t slot = is_long ? kLongest : is(&task, "tcp") ? kOffloadSlot : kPlainSlot;
    port_open(&ports[i], &(struct port_options){argv[4 + i], size, slot, slot > kPlainSlot});
    ring_disarm(&ports[i].transmit);
    post_all(&ports[i].receive);
  }
  if (is(&task, "tx") || is(&task, "gso"))
    transmit(&ports->transmit, &task);
  else if (is(&task, "rx"))
    receive_for_ever(ports);
  else if (is(&task, "echo"))
    answer_for_ever(ports);
  else
    forward_for_ever(ports);
}
