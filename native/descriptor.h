#ifndef VHOST_NET_DESCRIPTOR_H_
#define VHOST_NET_DESCRIPTOR_H_

#include <napi.h>

#include <memory>

#include "open_file.h"

namespace vhost_net {

/// The JavaScript face of one file descriptor: `fd` (-1 when closed) and `close()`.
class Descriptor : public Napi::ObjectWrap<Descriptor> {
 public:
  /// A new wrapper that owns `fd`.
  static Napi::Value Make(Napi::Env env, UniqueFd fd, FileKind kind = FileKind::kOther);
  /// The wrapper behind a value, or null: of any other object the pointer would be another class's.
  static Descriptor* From(const Napi::Value& value);
  static Napi::Function Define(Napi::Env env);

  explicit Descriptor(const Napi::CallbackInfo& info);

  const std::shared_ptr<OpenFile>& file() const { return file_; }

 private:
  Napi::Value GetFd(Napi::Env env);
  Napi::Value Close(const Napi::CallbackInfo& info);

  std::shared_ptr<OpenFile> file_;
};

}  // namespace vhost_net

#endif  // VHOST_NET_DESCRIPTOR_H_
