// The tap's interface is deleted under the worker. Frames to be sent are taken and never given
// back; for those to be received nothing happens at all, and no error event comes. Only the tap's
// own descriptor tells.
//   cc -O2 -o deleted-tap deleted-tap.c && sudo ./deleted-tap
#include "vhost.h"

int main(void) {
  start();
  for (int id = 0; id < 64; id++) offer(RX, id, SLOT);
  for (int id = 0; id < 10; id++) send_frame(id);
  printf("before: completed %d of 10\n", completed(TX, 10));
  if (system("ip link delete t0") != 0) return 1;
  for (int id = 10; id < 110; id++) send_frame(id);
  printf("deleted: completed %d of 100 more\n", completed(TX, 110) - 10);
  printf("error events: transmit: %s, receive: %s\n", events(err[TX]) ? "yes" : "no",
         events(err[RX]) ? "yes" : "no");
  struct pollfd poller = {tap, POLLIN, 0};
  poll(&poller, 1, 0);
  printf("poll() of the tap: %s\n", poller.revents & POLLERR ? "POLLERR" : "nothing");
  run(TX, 0), run(RX, 0);
  const int taken = base(TX) - ring[TX].used.idx;
  printf("stopped: taken and never given back: %s\n", taken > 0 ? "some" : "none");
  return 0;
}
