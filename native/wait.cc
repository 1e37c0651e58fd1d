#include <poll.h>

#include <cerrno>
#include <iterator>

#include "addon.h"

namespace vhost_net {
namespace {

/// Nobody can end a wait from outside, not even who terminates the Worker.
constexpr int kLongest = 1000;

/// eventfdWait(milliseconds, eventfd, ...): which of up to four were signalled, as a bit set.
/// Blocks this thread, its event loop included. 0: none, for the time is over or a signal came;
/// nothing is drained.
Napi::Value Wait(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  pollfd polled[4] = {};
  std::shared_ptr<OpenFile> files[std::size(polled)];  // nobody closes them meanwhile
  const auto milliseconds = static_cast<int>(arguments.Integer(0, "milliseconds", 0, kLongest));
  nfds_t count = 0;
  for (; count < std::size(polled) && arguments.Has(count + 1); count++) {
    files[count] = arguments.EventFd(count + 1, "eventfd");
    if (!arguments.ok()) return info.Env().Undefined();
    polled[count] = {files[count]->fd.get(), POLLIN, 0};
  }
  if (!arguments.ok()) return info.Env().Undefined();
  if (::poll(polled, count, milliseconds) < 0 && errno != EINTR) {
    return ThrowSystem(info.Env(), errno, "poll", "eventfd");
  }
  uint32_t signalled = 0;
  for (nfds_t i = 0; i < count; i++) signalled |= polled[i].revents != 0 ? 1U << i : 0U;
  return Napi::Number::New(info.Env(), signalled);
}

}  // namespace

void ExportWait(Napi::Env env, Napi::Object exports) { Export<Wait>(env, exports, "eventfdWait"); }

}  // namespace vhost_net
