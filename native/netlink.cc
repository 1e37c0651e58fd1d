#include "netlink.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace vhost_net {

void NetlinkRequest::Append(const void* data, size_t length) {
  const auto* from = static_cast<const unsigned char*>(data);
  if (length > 0) bytes_.insert(bytes_.end(), from, from + length);
  bytes_.resize(NLMSG_ALIGN(bytes_.size()));
}

void NetlinkRequest::Start(uint16_t type, uint16_t flags, const void* body, size_t length) {
  nlmsghdr start = {};
  start.nlmsg_type = type;
  start.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  start.nlmsg_seq = 1;
  Append(&start, sizeof start);
  Append(body, length);
}

void NetlinkRequest::Attribute(uint16_t type, const void* data, size_t length) {
  const rtattr start = {static_cast<uint16_t>(RTA_LENGTH(length)), type};
  Append(&start, sizeof start);
  Append(data, length);
}

void NetlinkRequest::Nest(uint16_t type, const std::function<void(NetlinkRequest*)>& fill) {
  const size_t at = bytes_.size();
  Attribute(type, nullptr, 0);
  fill(this);
  reinterpret_cast<rtattr*>(bytes_.data() + at)->rta_len =
      static_cast<uint16_t>(bytes_.size() - at);
}

int NetlinkRequest::Perform(int socket, const std::function<void(const nlmsghdr&)>& each) {
  header()->nlmsg_len = static_cast<uint32_t>(bytes_.size());
  if (::send(socket, bytes_.data(), bytes_.size(), 0) < 0) return errno;
  // An answer to one request is a single datagram: either the message, or the acknowledgement. The
  // kernel has queued it before send() returns; on another kind of socket we would wait for ever.
  alignas(nlmsghdr) unsigned char answer[32768];
  const ssize_t received = ::recv(socket, answer, sizeof answer, MSG_DONTWAIT);
  if (received < 0) return errno;
  auto left = static_cast<unsigned int>(received);
  const auto* message = reinterpret_cast<const nlmsghdr*>(answer);
  if (!NLMSG_OK(message, left)) return EBADMSG;
  if (message->nlmsg_type == NLMSG_ERROR) {
    return -static_cast<const nlmsgerr*>(NLMSG_DATA(message))->error;
  }
  if (each) each(*message);
  return 0;
}

void ForEachAttribute(const rtattr* first, size_t length,
                      const std::function<void(const rtattr&)>& each) {
  auto left = static_cast<unsigned int>(length);
  for (const rtattr* one = first; RTA_OK(one, left); one = RTA_NEXT(one, left)) each(*one);
}

}  // namespace vhost_net
