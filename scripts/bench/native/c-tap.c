// One write() or read() for each frame on a tap. Usage: c-tap KIND LENGTH TAP...
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

enum { kHeader = 10, kLongest = kHeader + 65553 };

static uint8_t buffer[kLongest];

static void transmit(int tap, size_t length) {
  ready();
  for (;;) check(write(tap, buffer, length), "write");
}

static void receive(int tap) {
  ready();
  for (;;) check(read(tap, buffer, sizeof buffer), "read");
}

static void answer(int tap) {
  ready();
  for (;;) {
    const int length = check(read(tap, buffer, sizeof buffer), "read");
    if (make_echo_reply(buffer, length)) check(write(tap, buffer, length), "write");
  }
}

static void forward(const int taps[2]) {
  struct pollfd pollers[2] = {{taps[0], POLLIN, 0}, {taps[1], POLLIN, 0}};
  ready();
  for (;;) {
    check(poll(pollers, 2, -1), "poll");
    for (int i = 0; i < 2; i++) {
      if (!(pollers[i].revents & POLLIN)) continue;
      const int length = check(read(taps[i], buffer, sizeof buffer), "read");
      check(write(taps[1 - i], buffer, length), "write");
    }
  }
}

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const char* kind = argv[1];
  const size_t length = atoi(argv[2]);
  const bool gso = strcmp(kind, "gso") == 0;
  int taps[2];
  for (int i = 0; i < argc - 3 && i < 2; i++) taps[i] = open_tap(argv[3 + i], gso);
  if (gso) {
    fill_gso_header(buffer);
    fill_gso_frame(buffer + kHeader, length);
  } else {
    fill_frame(buffer, length);
  }
  if (gso)
    transmit(taps[0], kHeader + length);
  else if (strcmp(kind, "tx") == 0)
    transmit(taps[0], length);
  else if (strcmp(kind, "rx") == 0)
    receive(taps[0]);
  else if (strcmp(kind, "echo") == 0)
    answer(taps[0]);
  else
    forward(taps);
}
