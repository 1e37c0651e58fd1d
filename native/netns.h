#ifndef VHOST_NET_NETNS_H_
#define VHOST_NET_NETNS_H_

#include <functional>

#include "unique_fd.h"

namespace vhost_net {

/// Runs `open` (a descriptor, or -1 and errno) inside the network namespace behind `netns`, or
/// right here when `netns` is -1. 0, or the errno.
int OpenInNetns(int netns, const std::function<int()>& open, UniqueFd* out);

}  // namespace vhost_net

#endif  // VHOST_NET_NETNS_H_
