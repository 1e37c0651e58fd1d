// A copy of the vhost descriptor in a child keeps everything alive when the parent has closed its
// own: worker, tap, and the parent's memory, which the worker goes on reading and writing. The
// child itself may do nothing.
//   cc -O2 -o leaked-descriptor leaked-descriptor.c && sudo ./leaked-descriptor
#include "vhost.h"

int main(void) {
  int ready[2], go[2];
  char byte;
  start();
  TRY(pipe2(ready, O_CLOEXEC)), TRY(pipe2(go, O_CLOEXEC));
  const pid_t child = TRY(fork());
  if (child == 0) {
    struct vhost_vring_file none = {TX, -1};
    const int refused = ioctl(vhost, VHOST_NET_SET_BACKEND, &none) < 0;
    printf("the child stops a ring: %s\n", refused ? strerror(errno) : "done");
    fflush(stdout);
    TRY(write(ready[1], "r", 1)), TRY(read(go[0], &byte, 1));
    _exit(0);
  }
  TRY(read(ready[0], &byte, 1));
  close(vhost), close(tap);
  send_frame(0);
  int done = completed(TX, 1);
  printf("closed by the parent: the worker %s, completed %d, arrived %d\n",
         worker_cpu() < 0 ? "is gone" : "lives", done, arrived());
  TRY(write(go[1], "g", 1)), TRY(waitpid(child, NULL, 0));
  send_frame(1);
  done = completed(TX, 2);
  printf("the child is gone: the worker %s, completed %d, interface: %s\n",
         worker_cpu() < 0 ? "is gone" : "lives", done, if_nametoindex("t0") ? "there" : "gone");
  return 0;
}
