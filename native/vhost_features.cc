#include <cstring>
#include <vector>

#include "uapi.h"
#include "vhost_ioctl.h"
#include "vhost_memory.h"

// One function per ioctl about features. Which of them fit together is the kernel's to say; but
// what it logs must have a place in the log: see vhost_memory.h.

namespace vhost_net {
namespace {

/// vhostGetFeatures, vhostGetBackendFeatures (vhost): bigint
template <unsigned long request>
Napi::Value GetFeatures(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.Vhost(0, "vhost");
  if (!arguments.ok()) return info.Env().Undefined();
  uint64_t features = 0;
  const int error = VhostIoctl(file, request, features);
  if (error == 0) return Napi::BigInt::New(info.Env(), features);
  return ThrowSystem(
      info.Env(), error, "ioctl",
      request == VHOST_GET_FEATURES ? "VHOST_GET_FEATURES" : "VHOST_GET_BACKEND_FEATURES");
}

bool LogsAll(uint64_t features) { return (features >> VHOST_F_LOG_ALL & 1) != 0; }

/// Fails when the log would not cover what these features have logged.
void CheckLog(Arguments* arguments, const FilePointer& file, uint64_t features) {
  if (!arguments->ok() || LoggedEnd(*file, LogsAll(features)) <= file->log.end) return;
  arguments->FailRange("features",
                       "without VHOST_F_LOG_ALL before the log covers the memory table");
}

/// vhostSetFeatures(vhost, features: bigint)
Napi::Value SetFeatures(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.Vhost(0, "vhost");
  uint64_t features = arguments.Big(1, "features");
  CheckLog(&arguments, file, features);
  if (!arguments.ok()) return info.Env().Undefined();
  const int error = VhostIoctl(file, VHOST_SET_FEATURES, features);
  if (error == 0) file->logs_all = LogsAll(features);
  return Finish(info.Env(), error, "VHOST_SET_FEATURES");
}

/// vhostSetBackendFeatures(vhost, features: bigint)
Napi::Value SetBackendFeatures(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.Vhost(0, "vhost");
  uint64_t features = arguments.Big(1, "features");
  if (!arguments.ok()) return info.Env().Undefined();
  return Finish(info.Env(), VhostIoctl(file, VHOST_SET_BACKEND_FEATURES, features),
                "VHOST_SET_BACKEND_FEATURES");
}

/// Words of features that are read. Kernels that lack "vhost/net: fix clear_user start address"
/// wipe their answer when they are asked for more.
constexpr size_t kWordsRead = 2;

/// Words of features that may be set: more than anybody has, so that it is the kernel that refuses.
constexpr size_t kWordsSet = 16;

/// vhostGetFeaturesArray(vhost): bigint
Napi::Value GetFeaturesArray(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.Vhost(0, "vhost");
  if (!arguments.ok()) return info.Env().Undefined();
  uint64_t words[1 + kWordsRead] = {kWordsRead};  // a vhost_features_array
  const int error = VhostIoctl(file, VHOST_GET_FEATURES_ARRAY, words);
  if (error != 0) return ThrowSystem(info.Env(), error, "ioctl", "VHOST_GET_FEATURES_ARRAY");
  return Napi::BigInt::New(info.Env(), 0, kWordsRead, words + 1);
}

/// vhostSetFeaturesArray(vhost, features: bigint)
Napi::Value SetFeaturesArray(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const FilePointer file = arguments.Vhost(0, "vhost");
  const std::vector<uint64_t> features = arguments.Words(1, "features", kWordsSet);
  CheckLog(&arguments, file, features[0]);
  if (!arguments.ok()) return info.Env().Undefined();
  uint64_t words[1 + kWordsSet] = {kWordsSet};  // a vhost_features_array
  std::memcpy(words + 1, features.data(), sizeof words - sizeof words[0]);
  const int error = VhostIoctl(file, VHOST_SET_FEATURES_ARRAY, words);
  if (error == 0) file->logs_all = LogsAll(features[0]);
  return Finish(info.Env(), error, "VHOST_SET_FEATURES_ARRAY");
}

}  // namespace

void ExportVhostFeatures(Napi::Env env, Napi::Object exports) {
  Export<GetFeatures<VHOST_GET_FEATURES>>(env, exports, "vhostGetFeatures");
  Export<SetFeatures>(env, exports, "vhostSetFeatures");
  Export<GetFeaturesArray>(env, exports, "vhostGetFeaturesArray");
  Export<SetFeaturesArray>(env, exports, "vhostSetFeaturesArray");
  Export<GetFeatures<VHOST_GET_BACKEND_FEATURES>>(env, exports, "vhostGetBackendFeatures");
  Export<SetBackendFeatures>(env, exports, "vhostSetBackendFeatures");
}

}  // namespace vhost_net
