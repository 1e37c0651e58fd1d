#include "descriptor.h"

#include <fcntl.h>

#include <cerrno>
#include <climits>

#include "addon.h"

namespace vhost_net {
namespace {

constexpr napi_type_tag kTag = {0x7668'6f73'742d'6e65, 0x742d'6465'7363'7269};

/// descriptorOpen(path): a descriptor that Node's own fs would not close on exec or own elsewhere.
Napi::Value Open(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const std::string path = arguments.String(0, "path", PATH_MAX);
  const bool writable = arguments.Boolean(1, "writable");
  if (!arguments.ok()) return info.Env().Undefined();
  // Not blocking: a FIFO without a writer would keep the event loop for ever.
  const int mode = (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  UniqueFd fd(::open(path.c_str(), mode));
  if (!fd.valid()) return ThrowSystem(info.Env(), errno, "open", "", path);
  return Descriptor::Make(info.Env(), std::move(fd));
}

/// descriptorDuplicate(fd): a copy of a descriptor that somebody else owns and goes on owning.
Napi::Value Duplicate(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const int64_t number = arguments.Integer(0, "fd", 0, INT_MAX);
  if (!arguments.ok()) return info.Env().Undefined();
  UniqueFd fd(::fcntl(static_cast<int>(number), F_DUPFD_CLOEXEC, 0));
  if (!fd.valid()) return ThrowSystem(info.Env(), errno, "fcntl", "F_DUPFD_CLOEXEC");
  return Descriptor::Make(info.Env(), std::move(fd));
}

}  // namespace

Descriptor::Descriptor(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Descriptor>(info) {
  // Only Make() leaves one there: JavaScript cannot turn a number into an owner. Not by way of an
  // External either: there are others than ours, such as those of Node's streams.
  file_ = std::move(info.Env().GetInstanceData<AddonData>()->new_file);
  if (!file_) {
    Napi::TypeError::New(info.Env(), "Descriptor has no public constructor")
        .ThrowAsJavaScriptException();
    return;
  }
  napi_type_tag_object(info.Env(), info.This(), &kTag);
}

Napi::Value Descriptor::Make(Napi::Env env, UniqueFd fd, FileKind kind) {
  AddonData* data = env.GetInstanceData<AddonData>();
  data->new_file = std::make_shared<OpenFile>(std::move(fd), kind);
  const Napi::Value made = data->descriptor_class.Value().New({});
  data->new_file.reset();  // also when nothing was made
  return made;
}

Descriptor* Descriptor::From(const Napi::Value& value) {
  if (!value.IsObject()) return nullptr;
  bool tagged = false;
  napi_check_object_type_tag(value.Env(), value, &kTag, &tagged);
  return tagged ? Unwrap(value.As<Napi::Object>()) : nullptr;
}

Napi::Value Descriptor::GetFd(Napi::Env env) {
  return Napi::Number::New(env, file_ ? file_->fd.get() : -1);
}

Napi::Value Descriptor::Close(const Napi::CallbackInfo& info) {
  file_.reset();
  return info.Env().Undefined();
}

Napi::Function Descriptor::Define(Napi::Env env) {
  return DefineClass(env, "Descriptor",
                     {Accessor<Descriptor, &Descriptor::GetFd>("fd"),
                      InstanceMethod<&Descriptor::Close>("close")});
}

void ExportDescriptor(Napi::Env env, Napi::Object exports) {
  const Napi::Function constructor = Descriptor::Define(env);
  env.GetInstanceData<AddonData>()->descriptor_class = Napi::Persistent(constructor);
  exports.Set("Descriptor", constructor);
  Export<Open>(env, exports, "descriptorOpen");
  Export<Duplicate>(env, exports, "descriptorDuplicate");
}

}  // namespace vhost_net
