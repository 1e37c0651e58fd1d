#include <cstring>

#include "addon.h"

namespace vhost_net {
namespace {

/// copyToStrides(target, at, stride, source, from, length, count): pieces that lie one behind the
/// other in `source` go to places `stride` apart. Where both are one memory and overlap, what
/// arrives is unspecified, but lies inside.
Napi::Value CopyToStrides(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  Napi::Uint8Array target = arguments.Bytes(0, "target");
  const uint64_t at = arguments.Unsigned(1, "at");
  const uint64_t stride = arguments.Unsigned(2, "stride");
  const Napi::Uint8Array source = arguments.Bytes(3, "source");
  const uint64_t from = arguments.Unsigned(4, "from");
  const uint64_t length = arguments.Unsigned(5, "length");
  const uint64_t count = arguments.Unsigned(6, "count");
  if (!arguments.ok() || count == 0) return info.Env().Undefined();
  // Of numbers of 32 bits neither sum can exceed 64.
  if (at + (count - 1) * stride + length > target.ByteLength()) {
    arguments.FailRange("count", "pieces that fit into the target");
  } else if (from + count * length > source.ByteLength()) {
    arguments.FailRange("count", "pieces that the source holds");
  }
  if (!arguments.ok()) return info.Env().Undefined();
  uint8_t* to = target.Data() + at;
  const uint8_t* piece = source.Data() + from;
  for (uint64_t i = 0; i < count; i++, to += stride, piece += length) {
    std::memmove(to, piece, length);
  }
  return info.Env().Undefined();
}

/// Bytes of `struct virtio_net_hdr_mrg_rxbuf` of <linux/virtio_net.h>, which C++ can't include.
constexpr uint64_t kHeaderSize = 12;

/// The compiler knows the length: a few stores, where a call of memset is most of the work.
template <size_t kLength>
void ClearFixed(uint8_t* to, uint64_t stride, uint64_t count) {
  for (uint64_t i = 0; i < count; i++, to += stride) std::memset(to, 0, kLength);
}

void Clear(uint8_t* to, uint64_t stride, uint64_t length, uint64_t count) {
  if (length == kHeaderSize) {
    ClearFixed<kHeaderSize>(to, stride, count);
  } else {
    for (uint64_t i = 0; i < count; i++, to += stride) std::memset(to, 0, length);
  }
}

/// clearStrides(target, at, stride, length, count): zeros for `count` pieces, `stride` apart.
Napi::Value ClearStrides(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  Napi::Uint8Array target = arguments.Bytes(0, "target");
  const uint64_t at = arguments.Unsigned(1, "at");
  const uint64_t stride = arguments.Unsigned(2, "stride");
  const uint64_t length = arguments.Unsigned(3, "length");
  const uint64_t count = arguments.Unsigned(4, "count");
  if (!arguments.ok() || count == 0) return info.Env().Undefined();
  // Of numbers of 32 bits no sum can exceed 64.
  if (at + (count - 1) * stride + length > target.ByteLength()) {
    arguments.FailRange("count", "pieces that fit into the target");
    return info.Env().Undefined();
  }
  Clear(target.Data() + at, stride, length, count);
  return info.Env().Undefined();
}

}  // namespace

void ExportCopy(Napi::Env env, Napi::Object exports) {
  Export<CopyToStrides>(env, exports, "copyToStrides");
  Export<ClearStrides>(env, exports, "clearStrides");
}

}  // namespace vhost_net
