#ifndef VHOST_NET_VHOST_IOCTL_H_
#define VHOST_NET_VHOST_IOCTL_H_

#include <sys/ioctl.h>

#include <cerrno>
#include <memory>
#include <type_traits>

#include "addon.h"

namespace vhost_net {

using FilePointer = std::shared_ptr<OpenFile>;

/// 0, or the errno. Refuses const: most requests are in and out, and through a const argument an
/// optimiser may keep the old value. EINTR is not retried: no vhost ioctl returns it.
template <typename Argument>
[[nodiscard]] int VhostIoctl(const FilePointer& file, unsigned long request, Argument& inout) {
  static_assert(!std::is_const_v<Argument>);
  return ::ioctl(file->fd.get(), request, &inout) < 0 ? errno : 0;
}

/// The same for a request without an argument.
[[nodiscard]] inline int VhostIoctl(const FilePointer& file, unsigned long request) {
  return ::ioctl(file->fd.get(), request) < 0 ? errno : 0;
}

/// How an export ends that has nothing to say but that it worked.
inline Napi::Value Finish(Napi::Env env, int error, const char* request) {
  if (error != 0) return ThrowSystem(env, error, "ioctl", request);
  return env.Undefined();
}

/// The same for one that answers with a number.
inline Napi::Value Finish(Napi::Env env, int error, const char* request, double answer) {
  if (error != 0) return ThrowSystem(env, error, "ioctl", request);
  return Napi::Number::New(env, answer);
}

}  // namespace vhost_net

#endif  // VHOST_NET_VHOST_IOCTL_H_
