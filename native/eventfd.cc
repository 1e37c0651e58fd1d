#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "addon.h"
#include "descriptor.h"

namespace vhost_net {
namespace {

/// eventfdCreate()
Napi::Value Create(const Napi::CallbackInfo& info) {
  UniqueFd fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd.valid()) return ThrowSystem(info.Env(), errno, "eventfd", "");
  return Descriptor::Make(info.Env(), std::move(fd), FileKind::kEventFd);
}

/// eventfdSignal(descriptor): adds 1. A full counter (EAGAIN) is as good: the other side is awake.
Napi::Value Signal(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const std::shared_ptr<OpenFile> file = arguments.EventFd(0, "eventfd");
  if (!arguments.ok()) return info.Env().Undefined();
  const uint64_t one = 1;
  if (::write(file->fd.get(), &one, sizeof one) < 0 && errno != EAGAIN) {
    return ThrowSystem(info.Env(), errno, "write", "eventfd");
  }
  return info.Env().Undefined();
}

/// eventfdDrain(descriptor): takes the counter and says what it was, 0 when nothing had signalled.
Napi::Value Drain(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const std::shared_ptr<OpenFile> file = arguments.EventFd(0, "eventfd");
  if (!arguments.ok()) return info.Env().Undefined();
  uint64_t count = 0;
  if (::read(file->fd.get(), &count, sizeof count) < 0 && errno != EAGAIN) {
    return ThrowSystem(info.Env(), errno, "read", "eventfd");
  }
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

}  // namespace

void ExportEventFd(Napi::Env env, Napi::Object exports) {
  Export<Create>(env, exports, "eventfdCreate");
  Export<Signal>(env, exports, "eventfdSignal");
  Export<Drain>(env, exports, "eventfdDrain");
}

}  // namespace vhost_net
