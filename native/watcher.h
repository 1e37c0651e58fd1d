#ifndef VHOST_NET_WATCHER_H_
#define VHOST_NET_WATCHER_H_

#include <napi.h>

namespace vhost_net {

struct Watch;

/// Calls JavaScript on the environment's own loop whenever an eventfd was signalled, or whenever
/// there is news of an interface.
class Watcher : public Napi::ObjectWrap<Watcher> {
 public:
  static Napi::Function Define(Napi::Env env);

  /// new Watcher(eventfd, (count) => void), new Watcher(linkEvents, (events) => void)
  explicit Watcher(const Napi::CallbackInfo& info);
  ~Watcher() override;
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

 private:
  Napi::Value Ref(const Napi::CallbackInfo& info);
  Napi::Value Unref(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);

  friend struct Watch;
  Watch* watch_ = nullptr;  ///< null once closed, by JavaScript or by the environment's end
};

}  // namespace vhost_net

#endif  // VHOST_NET_WATCHER_H_
