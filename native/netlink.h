#ifndef VHOST_NET_NETLINK_H_
#define VHOST_NET_NETLINK_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "uapi.h"

namespace vhost_net {

/// One rtnetlink request: a header, a fixed part, attributes.
class NetlinkRequest {
 public:
  template <typename Body>
  NetlinkRequest(uint16_t type, uint16_t flags, const Body& body) {
    Start(type, flags, &body, sizeof body);
  }

  void Attribute(uint16_t type, const void* data, size_t length);

  /// An attribute that holds those that `fill` adds.
  void Nest(uint16_t type, const std::function<void(NetlinkRequest*)>& fill);

  /// Sends it and gives every answer to `each`. 0, or the errno with which the kernel refused.
  int Perform(int socket, const std::function<void(const nlmsghdr&)>& each = {});

 private:
  void Start(uint16_t type, uint16_t flags, const void* body, size_t length);
  void Append(const void* data, size_t length);
  nlmsghdr* header() { return reinterpret_cast<nlmsghdr*>(bytes_.data()); }

  std::vector<unsigned char> bytes_;
};

/// Calls `each` for every attribute of [first, first + length).
void ForEachAttribute(const rtattr* first, size_t length,
                      const std::function<void(const rtattr&)>& each);

}  // namespace vhost_net

#endif  // VHOST_NET_NETLINK_H_
