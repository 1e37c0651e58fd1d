#include "pages.h"

#include <fcntl.h>

#include <cerrno>

#include "addon.h"
#include "descriptor.h"

namespace vhost_net {
namespace {

constexpr napi_type_tag kTag = {0x7668'6f73'742d'6e65, 0x742d'7061'6765'7300};

/// V8 refuses longer external ArrayBuffers.
constexpr int64_t kLongest = int64_t{4} << 30;

}  // namespace

int Pages::Map(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto length = static_cast<size_t>(arguments.Integer(0, "byteLength", 1, kLongest));
  if (info.Length() == 2) {
    const std::shared_ptr<OpenFile> file = arguments.File(1, "memfd");
    return arguments.ok() ? Mapping::FromFd(file->fd.get(), length, &mapping_) : -1;
  }
  MappingOptions options;
  options.length = length;
  options.shared = arguments.Boolean(1, "shared");
  options.huge_pages = arguments.Boolean(2, "hugePages");
  return arguments.ok() ? Mapping::Allocate(options, &mapping_) : -1;
}

Pages::Pages(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Pages>(info) {
  napi_type_tag_object(info.Env(), info.This(), &kTag);
  const int error = Map(info);
  if (error > 0) ThrowSystem(info.Env(), error, "mmap", "");
  if (error == 0) Expose(info.Env());
}

/// The ArrayBuffer's finalizer holds a share of the pages, as the wrapper does: whichever of the
/// two is collected first, the other still looks at mapped memory.
void Pages::Expose(Napi::Env env) {
  buffer_share_ = std::make_shared<Share>(mapping_);
  auto* held = new std::shared_ptr<Share>(buffer_share_);
  auto buffer = Napi::ArrayBuffer::New(
      env, mapping_->base(), mapping_->length(),
      [](Napi::Env, void*, std::shared_ptr<Share>* cell) { delete cell; }, held);
  if (env.IsExceptionPending()) {
    delete held;
    buffer_share_.reset();
    mapping_.reset();
    return;
  }
  KeepAddresses(buffer);
  buffer_ = Napi::Persistent(buffer);
}

/// Until the object itself is collected: a detached ArrayBuffer has let go of its memory, but a job
/// that was begun with a view of it still goes by the address, and keeps the view.
void Pages::KeepAddresses(Napi::ArrayBuffer buffer) {
  auto* range = new std::shared_ptr<AddressRange>(mapping_->range());
  buffer.AddFinalizer([](Napi::Env, std::shared_ptr<AddressRange>* held) { delete held; }, range);
}

Pages* Pages::From(const Napi::Value& value) {
  if (!value.IsObject()) return nullptr;
  bool tagged = false;
  napi_check_object_type_tag(value.Env(), value, &kTag, &tagged);
  return tagged ? Unwrap(value.As<Napi::Object>()) : nullptr;
}

Napi::Value Pages::GetBuffer(Napi::Env env) {
  return buffer_.IsEmpty() ? env.Undefined() : buffer_.Value();
}

Napi::Value Pages::GetAddress(Napi::Env env) {
  const auto address = mapping_ ? reinterpret_cast<uintptr_t>(mapping_->base()) : 0;
  return Napi::BigInt::New(env, static_cast<uint64_t>(address));
}

/// A descriptor with which another thread or process can map the same memory; shared pages only.
Napi::Value Pages::Memfd(const Napi::CallbackInfo& info) {
  if (!mapping_ || mapping_->memfd() < 0) return info.Env().Undefined();
  UniqueFd fd(::fcntl(mapping_->memfd(), F_DUPFD_CLOEXEC, 0));
  if (!fd.valid()) return ThrowSystem(info.Env(), errno, "fcntl", "F_DUPFD_CLOEXEC");
  return Descriptor::Make(info.Env(), std::move(fd));
}

/// Detaches first, so that every view has length 0 before the memory can go. The finalizer would
/// come only in a later turn of the loop: the share it stands for is let go here. Except when
/// somebody else has detached the buffer, as ArrayBuffer.prototype.transfer() does: then another
/// one looks at the pages, and they stay until that is collected.
Napi::Value Pages::Close(const Napi::CallbackInfo& info) {
  if (!buffer_.IsEmpty()) {
    Napi::ArrayBuffer buffer = buffer_.Value();
    if (!buffer.IsDetached()) {
      buffer.Detach();
      buffer_share_->reset();
    }
    buffer_.Reset();
  }
  buffer_share_.reset();
  mapping_.reset();
  return info.Env().Undefined();
}

Napi::Function Pages::Define(Napi::Env env) {
  return DefineClass(
      env, "Pages",
      {Accessor<Pages, &Pages::GetBuffer>("buffer"), Accessor<Pages, &Pages::GetAddress>("address"),
       InstanceMethod<&Pages::Memfd>("memfd"), InstanceMethod<&Pages::Close>("close")});
}

namespace {

/// pagesCount(): mappings of the whole process whose memory is not given back yet.
Napi::Value Count(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(Mapping::Count()));
}

/// pagesReserved(): mappings of the whole process whose addresses are not given back yet.
Napi::Value Reserved(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(AddressRange::Count()));
}

}  // namespace

void ExportPages(Napi::Env env, Napi::Object exports) {
  exports.Set("Pages", Pages::Define(env));
  Export<Count>(env, exports, "pagesCount");
  Export<Reserved>(env, exports, "pagesReserved");
}

}  // namespace vhost_net
