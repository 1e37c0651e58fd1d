#ifndef VHOST_NET_LINK_MESSAGE_H_
#define VHOST_NET_LINK_MESSAGE_H_

#include <napi.h>

#include "uapi.h"

namespace vhost_net {

/// What the kernel says of an interface: { index, up, name, mtu, carrier, mac, counters, lower?,
/// kind?, tap?, macvtap? }.
Napi::Object DecodeLink(Napi::Env env, const nlmsghdr& message);

}  // namespace vhost_net

#endif  // VHOST_NET_LINK_MESSAGE_H_
