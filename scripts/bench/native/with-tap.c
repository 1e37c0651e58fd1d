// Gives a program taps as descriptors from 3 on, since Node can't make them.
// Usage: with-tap plain|header TAP... -- COMMAND...
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

int main(int argc, char** argv) {
  int i = 2;
  for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
    const int tap = open_tap(argv[i], strcmp(argv[1], "header") == 0);
    check(dup2(tap, 1 + i), "dup2");
    check(fcntl(1 + i, F_SETFD, 0),
          "F_SETFD");  // it may have had that number, and then closes on exec
  }
  if (i + 1 >= argc) return 2;
  execvp(argv[i + 1], argv + i + 1);
  die(argv[i + 1]);
}
