#ifndef VHOST_NET_WORKER_THREAD_H_
#define VHOST_NET_WORKER_THREAD_H_

#include <sys/types.h>

#include <functional>

namespace vhost_net {

/// Runs `set_owner` (0 or an errno), then says which vhost worker it created: its tid, or 0 when
/// that can't be known.
int FindNewWorker(const std::function<int()>& set_owner, pid_t* tid);

/// From now on a new worker may be a kernel thread, also where it was known not to be.
void ExpectKernelThreads();

}  // namespace vhost_net

#endif  // VHOST_NET_WORKER_THREAD_H_
