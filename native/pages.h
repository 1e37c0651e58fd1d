#ifndef VHOST_NET_PAGES_H_
#define VHOST_NET_PAGES_H_

#include <napi.h>

#include <memory>

#include "mapping.h"

namespace vhost_net {

/// The JavaScript face of one mapping: `buffer`, `address`, `memfd()`, `close()`.
///
/// There is exactly one ArrayBuffer per isolate over a mapping: a second one would not be detached
/// with the first, and a view of it after the unmapping is a crash.
class Pages : public Napi::ObjectWrap<Pages> {
 public:
  static Napi::Function Define(Napi::Env env);
  /// The wrapper behind a value, or null: of any other object the pointer would be another class's.
  static Pages* From(const Napi::Value& value);

  /// new Pages(byteLength, shared, hugePages) or new Pages(byteLength, descriptor)
  explicit Pages(const Napi::CallbackInfo& info);

 private:
  Napi::Value GetBuffer(Napi::Env env);
  Napi::Value GetAddress(Napi::Env env);
  Napi::Value Memfd(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);

  int Map(const Napi::CallbackInfo& info);
  void Expose(Napi::Env env);
  void KeepAddresses(Napi::ArrayBuffer buffer);

  using Share = std::shared_ptr<Mapping>;

  Share mapping_;
  /// The ArrayBuffer's own; its finalizer holds the cell too.
  std::shared_ptr<Share> buffer_share_;
  Napi::Reference<Napi::ArrayBuffer> buffer_;
};

}  // namespace vhost_net

#endif  // VHOST_NET_PAGES_H_
