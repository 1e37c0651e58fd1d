#ifndef VHOST_NET_LINK_EVENTS_H_
#define VHOST_NET_LINK_EVENTS_H_

#include <napi.h>

namespace vhost_net {

/// Everything that a socket of linkEventsOpen() has to tell, in its order: an array of what
/// DecodeLink() makes of it, `gone: true` with the one that says that the interface is no more.
/// Null when some of it did not fit the socket's buffer; empty when there was nothing.
Napi::Value ReadLinkEvents(Napi::Env env, int socket);

}  // namespace vhost_net

#endif  // VHOST_NET_LINK_EVENTS_H_
