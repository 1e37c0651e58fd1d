// One write() for each frame on a tap. Usage: c-tap tx TAP LENGTH
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"

int main(int argc, char** argv) {
  static uint8_t frame[65553];
  if (argc != 4) return 2;
  const size_t length = atoi(argv[3]);
  const int tap = open_tap(argv[2], false);
  fill_frame(frame, length);
  ready();
  for (;;) check(write(tap, frame, length), "write");
}
