// A buffer that is unmapped under the worker. To be sent: it spins over it as over a header that
// the tap refuses. To be received into: the frame is lost, the buffer stays at the head, and every
// further frame is lost with it.
//   cc -O2 -o unmapped-buffer unmapped-buffer.c && sudo ./unmapped-buffer
#include "vhost.h"

int main(void) {
  const uint8_t bytes[60] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};
  start();
  TRY(munmap(pool[RX][0], 4096));  // the slots 0 and 1
  for (int id = 0; id < 4; id++) offer(RX, id, SLOT);
  for (int i = 0; i < 4; i++) TRY(send(wire, bytes, sizeof bytes, 0));
  const int used = completed(RX, 4);
  printf("receive: 4 frames sent to 4 buffers, 2 of them unmapped: used %d, error events: %d\n",
         used, events(err[RX]));

  TRY(munmap(pool[TX][0], 4096));
  offer(TX, 0, HEADER + 60);
  for (int id = 2; id < 5; id++) send_frame(id);
  printf("transmit: worker spins: %s, ", spins(TX, 4) ? "yes" : "no");
  printf("completed: %d of 4, error events: %d\n", completed(TX, 4), events(err[TX]));
  return 0;
}
