#ifndef VHOST_NET_ADDON_H_
#define VHOST_NET_ADDON_H_

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mapping.h"
#include "open_file.h"

namespace vhost_net {

/// What one environment (the main thread, or one Worker) owns.
struct AddonData {
  Napi::FunctionReference make_system_error;  ///< (errno, syscall, request, path?) -> Error
  Napi::FunctionReference descriptor_class;
  std::shared_ptr<OpenFile> new_file;  ///< for the Descriptor that is being made, else none
};

/// Throws the error that JavaScript makes of an errno; returns undefined, for a caller to return.
Napi::Value ThrowSystem(Napi::Env env, int error, const char* syscall, const std::string& request,
                        const std::string& path = "");

/// Calls JavaScript where none of it is on the stack: jobs of promises and ticks run after it, and
/// what it throws becomes 'uncaughtException'. Of an owner that the call may close nothing is used
/// once it has begun, but the context.
napi_status CallJavaScript(Napi::Env env, const Napi::AsyncContext& context,
                           const Napi::FunctionReference& callback, size_t count,
                           const napi_value* arguments, napi_value* result);

/// Checks arguments one by one. The first that does not fit throws a TypeError or RangeError; from
/// then on `ok()` is false and every later check is a no-op.
class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info) {}

  bool ok() const { return ok_; }
  bool Has(size_t index) const { return index < info_.Length() && !info_[index].IsUndefined(); }
  int64_t Integer(size_t index, const char* name, int64_t minimum, int64_t maximum);
  uint32_t Unsigned(size_t index, const char* name, uint32_t maximum = UINT32_MAX);
  uint64_t Big(size_t index, const char* name);
  /// A bigint of at most `most` 64-bit words, the lowest first, with zeroes up to `most`.
  std::vector<uint64_t> Words(size_t index, const char* name, size_t most);
  bool Boolean(size_t index, const char* name);
  std::string String(size_t index, const char* name, size_t longest);
  Napi::Function Function(size_t index, const char* name);
  Napi::Array Array(size_t index, const char* name);
  Napi::Uint8Array Bytes(size_t index, const char* name);
  Napi::Uint16Array Words16(size_t index, const char* name);
  /// A copy of a Uint32Array of whole rows, at most `most` of them.
  std::vector<uint32_t> Words32(size_t index, const char* name, size_t row, size_t most);
  /// An open Descriptor. None when it is closed or of another kind (an error was thrown).
  std::shared_ptr<OpenFile> File(size_t index, const char* name);
  /// The same for one that eventfdCreate() made.
  std::shared_ptr<OpenFile> EventFd(size_t index, const char* name);
  /// The same for one that eventfdCreate() or linkEventsOpen() made.
  std::shared_ptr<OpenFile> Watchable(size_t index, const char* name);
  /// The same for one that vhostOpen() made.
  std::shared_ptr<OpenFile> Vhost(size_t index, const char* name);
  /// The same for what kvmOpen() and kvmCreateVm() made.
  std::shared_ptr<OpenFile> Kvm(size_t index, const char* name);
  std::shared_ptr<OpenFile> Vm(size_t index, const char* name);
  /// An open Descriptor, or -1 where the argument is absent.
  int OptionalFd(size_t index, const char* name);

  void FailType(const char* name, const char* expected);
  void FailRange(const char* name, const std::string& expected);

 private:
  std::shared_ptr<OpenFile> FileOf(size_t index, const char* name, FileKind kind,
                                   const char* expected);
  /// Whether it is a typed array of that type; throws where it is not.
  bool IsTyped(size_t index, const char* name, napi_typedarray_type type, const char* expected);
  /// Whether this is the first failure, so that there is something to throw.
  bool Fail();

  const Napi::CallbackInfo& info_;
  bool ok_ = true;
};

// Each room adds its exports.
void ExportDescriptor(Napi::Env env, Napi::Object exports);
void ExportPages(Napi::Env env, Napi::Object exports);
void ExportCopy(Napi::Env env, Napi::Object exports);
void ExportEventFd(Napi::Env env, Napi::Object exports);
void ExportWait(Napi::Env env, Napi::Object exports);
void ExportSentry(Napi::Env env, Napi::Object exports);
void ExportWatcher(Napi::Env env, Napi::Object exports);
void ExportBudget(Napi::Env env, Napi::Object exports);
void ExportKvm(Napi::Env env, Napi::Object exports);
void ExportVcpu(Napi::Env env, Napi::Object exports);
void ExportVhost(Napi::Env env, Napi::Object exports);
void ExportVhostFeatures(Napi::Env env, Napi::Object exports);
void ExportVhostVring(Napi::Env env, Napi::Object exports);
void ExportSched(Napi::Env env, Napi::Object exports);
void ExportTun(Napi::Env env, Napi::Object exports);
void ExportNetlink(Napi::Env env, Napi::Object exports);
void ExportLinkEvents(Napi::Env env, Napi::Object exports);
void ExportBpf(Napi::Env env, Napi::Object exports);
void ExportMacvtap(Napi::Env env, Napi::Object exports);
void ExportPacketSocket(Napi::Env env, Napi::Object exports);
void ExportConstants(Napi::Env env, Napi::Object exports);

/// `exports[name] = callback`, as a plain function.
template <Napi::Value (*callback)(const Napi::CallbackInfo&)>
void Export(Napi::Env env, Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<callback>(env, name));
}

/// A read-only accessor of a wrapping class. V8 holds the receiver of a method against its class,
/// but not that of an accessor: JavaScript can take one off the prototype and call it on another
/// class's object, whose memory would then be taken for ours.
template <typename Class, Napi::Value (Class::*get)(Napi::Env)>
napi_property_descriptor Accessor(const char* name) {
  napi_property_descriptor property = {};
  property.utf8name = name;
  property.getter = [](napi_env env, napi_callback_info raw) -> napi_value {
    const Napi::CallbackInfo info(env, raw);
    Class* self = Class::From(info.This());
    if (self != nullptr) return (self->*get)(env);
    Napi::TypeError::New(env, "Illegal invocation").ThrowAsJavaScriptException();
    return nullptr;
  };
  return property;
}

}  // namespace vhost_net

#endif  // VHOST_NET_ADDON_H_
