// Gives a program a tap as descriptor 3, since Node can't make one. Usage: with-tap TAP COMMAND...
#include <fcntl.h>
#include <unistd.h>

#include "bench.h"

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  check(dup2(open_tap(argv[1], false), 3), "dup2");
  check(fcntl(3, F_SETFD, 0), "F_SETFD");  // it may have been 3 all along, and then closes on exec
  execvp(argv[2], argv + 2);
  die(argv[2]);
}
