#ifndef VHOST_NET_SENTRY_H_
#define VHOST_NET_SENTRY_H_

#include <napi.h>

namespace vhost_net {

struct Guard;

/// Looks at a ring and the interface behind it again and again, and calls JavaScript once something
/// stands still: a look from JavaScript wakes all of an engine.
class Sentry : public Napi::ObjectWrap<Sentry> {
 public:
  static Napi::Function Define(Napi::Env env);

  /// new Sentry(avail, availAt, used, usedAt, size, seen, milliseconds, (seen) => void, backend?)
  explicit Sentry(const Napi::CallbackInfo& info);
  ~Sentry() override;
  Sentry(const Sentry&) = delete;
  Sentry& operator=(const Sentry&) = delete;

 private:
  Napi::Value Rest(const Napi::CallbackInfo& info);
  Napi::Value Seen(const Napi::CallbackInfo& info);
  Napi::Value Again(const Napi::CallbackInfo& info);
  Napi::Value Pause(const Napi::CallbackInfo& info);
  Napi::Value Retire(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);

  friend struct Guard;
  Guard* guard_ = nullptr;  ///< null once closed, by JavaScript or by the environment's end
};

}  // namespace vhost_net

#endif  // VHOST_NET_SENTRY_H_
