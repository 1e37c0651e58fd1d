#ifndef VHOST_NET_NETNS_H_
#define VHOST_NET_NETNS_H_

#include <functional>

#include "unique_fd.h"

namespace vhost_net {

/// Why there is no descriptor: an errno, 0 when there is one.
struct Refusal {
  int error = 0;
  /// The system call on the way into the namespace that failed; nullptr when it was `open` itself.
  const char* on_the_way = nullptr;
};

/// Runs `open` (a descriptor, or -1 and errno) inside the network namespace behind `netns`, or
/// right here when `netns` is -1.
Refusal OpenInNetns(int netns, const std::function<int()>& open, UniqueFd* out);

}  // namespace vhost_net

#endif  // VHOST_NET_NETNS_H_
