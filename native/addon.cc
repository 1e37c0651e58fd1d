#include "addon.h"

#include <cmath>
#include <iterator>

#include "descriptor.h"

namespace vhost_net {

Napi::Value ThrowSystem(Napi::Env env, int error, const char* syscall, const std::string& request,
                        const std::string& path) {
  const AddonData* data = env.GetInstanceData<AddonData>();
  if (data->make_system_error.IsEmpty()) {
    Napi::Error::New(env, "configure() was not called").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  const Napi::Value text =
      path.empty() ? env.Undefined() : Napi::String::New(env, path).As<Napi::Value>();
  const napi_value arguments[] = {Napi::Number::New(env, error), Napi::String::New(env, syscall),
                                  Napi::String::New(env, request), text};
  // Raw: an exception of the factory's own stays pending as it is, and what it made is thrown as it
  // is.
  napi_value made = nullptr;
  const napi_status called =
      napi_call_function(env, env.Undefined(), data->make_system_error.Value(),
                         std::size(arguments), arguments, &made);
  if (called == napi_ok) napi_throw(env, made);
  return env.Undefined();
}

napi_status CallJavaScript(Napi::Env env, const Napi::AsyncContext& context,
                           const Napi::FunctionReference& callback, size_t count,
                           const napi_value* arguments, napi_value* result) {
  // Raw, because an exception must be handed to the process, not thrown again.
  const napi_status status =
      napi_make_callback(env, context, env.Global(), callback.Value(), count, arguments, result);
  napi_value error = nullptr;
  if (status == napi_pending_exception &&
      napi_get_and_clear_last_exception(env, &error) == napi_ok && error != nullptr) {
    napi_fatal_exception(env, error);  // becomes 'uncaughtException'
  }
  return status;
}

bool Arguments::Fail() {
  const bool first = ok_;
  ok_ = false;
  // An element of an array may be an accessor that threw: that exception is the answer then.
  return first && !info_.Env().IsExceptionPending();
}

void Arguments::FailType(const char* name, const char* expected) {
  if (!Fail()) return;
  Napi::TypeError::New(info_.Env(), std::string(name) + " must be " + expected)
      .ThrowAsJavaScriptException();
}

void Arguments::FailRange(const char* name, const std::string& expected) {
  if (!Fail()) return;
  Napi::RangeError::New(info_.Env(), std::string(name) + " must be " + expected)
      .ThrowAsJavaScriptException();
}

int64_t Arguments::Integer(size_t index, const char* name, int64_t minimum, int64_t maximum) {
  if (!ok_) return minimum;
  if (index >= info_.Length() || !info_[index].IsNumber()) {
    FailType(name, "an integer");
    return minimum;
  }
  const double value = info_[index].As<Napi::Number>().DoubleValue();
  if (!(std::trunc(value) == value && value >= static_cast<double>(minimum) &&
        value <= static_cast<double>(maximum))) {
    FailRange(name, "an integer in " + std::to_string(minimum) + ".." + std::to_string(maximum));
    return minimum;
  }
  return static_cast<int64_t>(value);
}

uint32_t Arguments::Unsigned(size_t index, const char* name, uint32_t maximum) {
  return static_cast<uint32_t>(Integer(index, name, 0, maximum));
}

uint64_t Arguments::Big(size_t index, const char* name) {
  if (!ok_) return 0;
  if (index >= info_.Length() || !info_[index].IsBigInt()) {
    FailType(name, "a bigint");
    return 0;
  }
  bool lossless = false;
  const uint64_t value = info_[index].As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) FailRange(name, "a bigint in 0..2^64-1");
  return value;
}

std::vector<uint64_t> Arguments::Words(size_t index, const char* name, size_t most) {
  std::vector<uint64_t> words(most);
  if (!ok_) return words;
  if (index >= info_.Length() || !info_[index].IsBigInt()) {
    FailType(name, "a bigint");
    return words;
  }
  Napi::BigInt value = info_[index].As<Napi::BigInt>();
  int negative = 0;
  size_t count = most;
  // Asked first: what does not fit into the words is cut off without a word.
  const bool fits = value.WordCount() <= most;
  if (fits) value.ToWords(&negative, &count, words.data());
  if (!fits || negative != 0) {
    FailRange(name, "a bigint in 0..2^" + std::to_string(64 * most) + "-1");
  }
  return words;
}

bool Arguments::Boolean(size_t index, const char* name) {
  if (!ok_) return false;
  if (index >= info_.Length() || !info_[index].IsBoolean()) {
    FailType(name, "a boolean");
    return false;
  }
  return info_[index].As<Napi::Boolean>().Value();
}

std::string Arguments::String(size_t index, const char* name, size_t longest) {
  if (!ok_) return "";
  if (index >= info_.Length() || !info_[index].IsString()) {
    FailType(name, "a string");
    return "";
  }
  std::string value = info_[index].As<Napi::String>().Utf8Value();
  if (value.size() > longest || value.find('\0') != std::string::npos) {
    FailRange(name, "a string of at most " + std::to_string(longest) + " bytes without NUL");
    return "";
  }
  return value;
}

Napi::Function Arguments::Function(size_t index, const char* name) {
  if (ok_ && (index >= info_.Length() || !info_[index].IsFunction())) FailType(name, "a function");
  return ok_ ? info_[index].As<Napi::Function>() : Napi::Function();
}

Napi::Array Arguments::Array(size_t index, const char* name) {
  if (ok_ && (index >= info_.Length() || !info_[index].IsArray())) FailType(name, "an array");
  return ok_ ? info_[index].As<Napi::Array>() : Napi::Array();
}

bool Arguments::IsTyped(size_t index, const char* name, napi_typedarray_type type,
                        const char* expected) {
  const bool fits = ok_ && index < info_.Length() && info_[index].IsTypedArray() &&
                    info_[index].As<Napi::TypedArray>().TypedArrayType() == type;
  if (ok_ && !fits) FailType(name, expected);
  return ok_;
}

Napi::Uint8Array Arguments::Bytes(size_t index, const char* name) {
  const bool fits = IsTyped(index, name, napi_uint8_array, "a Uint8Array");
  return fits ? info_[index].As<Napi::Uint8Array>() : Napi::Uint8Array();
}

Napi::Uint16Array Arguments::Words16(size_t index, const char* name) {
  const bool fits = IsTyped(index, name, napi_uint16_array, "a Uint16Array");
  return fits ? info_[index].As<Napi::Uint16Array>() : Napi::Uint16Array();
}

std::vector<uint32_t> Arguments::Words32(size_t index, const char* name, size_t row, size_t most) {
  if (!IsTyped(index, name, napi_uint32_array, "a Uint32Array")) return {};
  const auto words = info_[index].As<Napi::Uint32Array>();
  if (words.ElementLength() % row != 0 || words.ElementLength() > row * most) {
    FailRange(name, "at most " + std::to_string(most) + " rows of " + std::to_string(row));
    return {};
  }
  const uint32_t* first = words.Data();
  return {first, first + words.ElementLength()};
}

std::shared_ptr<OpenFile> Arguments::File(size_t index, const char* name) {
  if (!ok_) return nullptr;
  Descriptor* descriptor = index < info_.Length() ? Descriptor::From(info_[index]) : nullptr;
  if (descriptor == nullptr) {
    FailType(name, "a Descriptor");
    return nullptr;
  }
  if (!descriptor->file()) {
    FailType(name, "an open Descriptor (this one is closed)");
    return nullptr;
  }
  return descriptor->file();
}

std::shared_ptr<OpenFile> Arguments::FileOf(size_t index, const char* name, FileKind kind,
                                            const char* expected) {
  std::shared_ptr<OpenFile> file = File(index, name);
  if (!file || file->kind == kind) return file;
  FailType(name, expected);
  return nullptr;
}

std::shared_ptr<OpenFile> Arguments::EventFd(size_t index, const char* name) {
  return FileOf(index, name, FileKind::kEventFd, "an eventfd");
}

std::shared_ptr<OpenFile> Arguments::Watchable(size_t index, const char* name) {
  std::shared_ptr<OpenFile> file = File(index, name);
  if (!file || file->kind == FileKind::kEventFd || file->kind == FileKind::kLinkEvents) return file;
  FailType(name, "an eventfd, or what linkEventsOpen() made");
  return nullptr;
}

std::shared_ptr<OpenFile> Arguments::Vhost(size_t index, const char* name) {
  return FileOf(index, name, FileKind::kVhost, "a descriptor that vhostOpen() made");
}

std::shared_ptr<OpenFile> Arguments::Kvm(size_t index, const char* name) {
  return FileOf(index, name, FileKind::kKvm, "a descriptor that kvmOpen() made");
}

std::shared_ptr<OpenFile> Arguments::Vm(size_t index, const char* name) {
  return FileOf(index, name, FileKind::kVm, "a descriptor that kvmCreateVm() made");
}

int Arguments::OptionalFd(size_t index, const char* name) {
  if (!ok_ || !Has(index)) return -1;
  const std::shared_ptr<OpenFile> file = File(index, name);
  return file ? file->fd.get() : -1;
}

namespace {

/// configure(makeSystemError), once: whoever could exchange the factory later could have us throw
/// what is no error at all, and the re-throwing of such from a constructor ends the process.
Napi::Value Configure(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const Napi::Function factory = arguments.Function(0, "makeSystemError");
  if (!arguments.ok()) return info.Env().Undefined();
  AddonData* data = info.Env().GetInstanceData<AddonData>();
  if (!data->make_system_error.IsEmpty()) {
    Napi::Error::New(info.Env(), "configure() was called already").ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }
  data->make_system_error = Napi::Persistent(factory);
  return info.Env().Undefined();
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new AddonData);
  Export<Configure>(env, exports, "configure");
  ExportDescriptor(env, exports);
  ExportPages(env, exports);
  ExportCopy(env, exports);
  ExportEventFd(env, exports);
  ExportWait(env, exports);
  ExportSentry(env, exports);
  ExportWatcher(env, exports);
  ExportBudget(env, exports);
  ExportKvm(env, exports);
  ExportVcpu(env, exports);
  ExportVhost(env, exports);
  ExportVhostFeatures(env, exports);
  ExportVhostVring(env, exports);
  ExportSched(env, exports);
  ExportTun(env, exports);
  ExportNetlink(env, exports);
  ExportLinkEvents(env, exports);
  ExportBpf(env, exports);
  ExportMacvtap(env, exports);
  ExportPacketSocket(env, exports);
  ExportConstants(env, exports);
  return exports;
}

NODE_API_MODULE(vhost_net, Init)

}  // namespace
}  // namespace vhost_net
