#include "sentry.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <uv.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "addon.h"
#include "descriptor.h"
#include "uapi.h"

namespace vhost_net {
namespace {

/// An index of a ring, in memory that JavaScript owns and may take away: looked up each time.
class Word {
 public:
  /// Whether it was there.
  bool Load(uint16_t* value) const {
    const Napi::Uint16Array words = words_.Value();
    if (at_ >= words.ElementLength()) return false;  // 0 of a detached buffer
    // Acquire, so that of two that are loaded in turn the second is at least as new as the first.
    // Nothing is read by what they say: a wrong value costs a look.
    *value = __atomic_load_n(words.Data() + at_, __ATOMIC_ACQUIRE);
    return true;
  }
  void Set(Napi::Uint16Array words, uint32_t at) {
    words_ = Napi::Persistent(words);
    at_ = at;
  }
  void Reset() { words_.Reset(); }

 private:
  mutable Napi::Reference<Napi::Uint16Array> words_;
  uint32_t at_ = 0;
};

/// As a queue of a tap (`EBADFD`) or macvtap (`ENOLINK`) answers once its interface is gone, and a
/// packet socket that was bound to one (`packet_notifier()` of `net/packet/af_packet.c`).
bool InterfaceGone(int fd) {
  ifreq request = {};
  if (::ioctl(fd, TUNGETIFF, &request) == 0) return false;
  if (errno == EBADFD || errno == ENOLINK) return true;
  sockaddr_ll address = {};
  socklen_t length = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return false;
  return address.sll_family == AF_PACKET && address.sll_ifindex == -1;
}

}  // namespace

/// What lives as long as libuv knows the handle, which is longer than the wrapper.
struct Guard {
  uv_timer_t timer = {};
  Napi::Env env;
  Napi::FunctionReference callback;
  std::unique_ptr<Napi::AsyncContext> context;
  napi_async_cleanup_hook_handle hook = nullptr;
  Sentry* owner = nullptr;
  Word avail;
  Word used;
  uint32_t size = 0;
  std::weak_ptr<OpenFile> backend;  // weak: whoever closes it is to be rid of it
  bool has_backend = false;
  int32_t seen = -1;    ///< the used index at the last look; -1: there was nothing to wait for
  uint64_t period = 0;  ///< milliseconds
  bool retired = false;

  explicit Guard(Napi::Env environment) : env(environment) {}

  void Start(uv_loop_t* loop);
  void Again();
  void Close();
  void Look();
  bool GoesOn();
  bool StandsStill(uint16_t* waiting);
  bool BackendGone() const;
  void Alarm();

  static void OnTimer(uv_timer_t* handle) { static_cast<Guard*>(handle->data)->Look(); }
  static void OnEnvironmentEnd(napi_async_cleanup_hook_handle handle, void* data);
  static void OnClosed(uv_handle_t* handle);
};

/// Does not keep the process alive.
void Guard::Start(uv_loop_t* loop) {
  timer.data = this;
  uv_timer_init(loop, &timer);
  uv_unref(reinterpret_cast<uv_handle_t*>(&timer));
  if (napi_add_async_cleanup_hook(env, OnEnvironmentEnd, this, &hook) != napi_ok) hook = nullptr;
  Again();
}

/// By the time that it is, and not that of the turn's beginning, which may be long ago: two looks
/// are never closer than that.
void Guard::Again() {
  uv_update_time(timer.loop);
  uv_timer_start(&timer, OnTimer, period, 0);
}

/// The context stays until the handle is gone: a callback that closes its own sentry still runs
/// inside it.
void Guard::Close() {
  if (owner != nullptr) owner->guard_ = nullptr;
  owner = nullptr;
  callback.Reset();
  avail.Reset();
  used.Reset();
  uv_close(reinterpret_cast<uv_handle_t*>(&timer), OnClosed);
}

void Guard::OnClosed(uv_handle_t* handle) {
  const std::unique_ptr<Guard> guard(static_cast<Guard*>(handle->data));
  // The hook keeps the environment, which this needs to go.
  guard->context.reset();
  if (guard->hook != nullptr) napi_remove_async_cleanup_hook(guard->hook);
}

void Guard::OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* data) {
  auto* guard = static_cast<Guard*>(data);
  if (uv_is_closing(reinterpret_cast<uv_handle_t*>(&guard->timer)) == 0) guard->Close();
}

void Guard::Look() {
  const Napi::HandleScope scope(env);
  if (GoesOn()) {
    Again();
  } else {
    Alarm();
  }
}

/// Where not: `seen` is what stood still, or -1 when that is not the reason.
bool Guard::GoesOn() {
  uint16_t waiting = 0;
  if (StandsStill(&waiting)) return false;
  if (!retired && waiting <= size && !BackendGone()) return true;
  seen = -1;
  return false;
}

/// Of memory that is gone, more seems to wait than there can be.
bool Guard::StandsStill(uint16_t* waiting) {
  uint16_t now = 0;
  uint16_t next = 0;
  const bool known = used.Load(&now) && avail.Load(&next);
  *waiting = known ? static_cast<uint16_t>(next - now) : UINT16_MAX;
  if (known && !retired && *waiting != 0 && seen == now) return true;
  seen = *waiting == 0 ? -1 : now;
  return false;
}

bool Guard::BackendGone() const {
  if (!has_backend) return false;
  const std::shared_ptr<OpenFile> file = backend.lock();
  return !file || InterfaceGone(file->fd.get());
}

void Guard::Alarm() {
  const napi_value argument = seen < 0 ? env.Undefined() : Napi::Number::New(env, seen);
  CallJavaScript(env, *context, callback, 1, &argument, nullptr);
}

Sentry::Sentry(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Sentry>(info) {
  Arguments arguments(info);
  const Napi::Uint16Array avail = arguments.Words16(0, "avail");
  const uint32_t avail_at = arguments.Unsigned(1, "availAt");
  const Napi::Uint16Array used = arguments.Words16(2, "used");
  const uint32_t used_at = arguments.Unsigned(3, "usedAt");
  const uint32_t size = arguments.Unsigned(4, "size", 32768);
  const auto seen = static_cast<int32_t>(arguments.Integer(5, "seen", -1, 65535));
  const auto milliseconds = arguments.Integer(6, "milliseconds", 1, UINT32_MAX);
  const Napi::Function callback = arguments.Function(7, "callback");
  const bool has_backend = arguments.Has(8);
  const Descriptor* backend = has_backend ? Descriptor::From(info[8]) : nullptr;
  if (has_backend && backend == nullptr) arguments.FailType("backend", "a Descriptor");
  if (!arguments.ok()) return;
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(info.Env(), &loop);
  auto* guard = new Guard(info.Env());
  guard->avail.Set(avail, avail_at);
  guard->used.Set(used, used_at);
  guard->size = size;
  guard->seen = seen;
  // One that is closed is as one whose interface is gone.
  if (has_backend) guard->backend = backend->file();
  guard->has_backend = has_backend;
  guard->callback = Napi::Persistent(callback);
  guard->context = std::make_unique<Napi::AsyncContext>(info.Env(), "VHOST_NET_SENTRY");
  guard->owner = this;
  guard_ = guard;
  guard->period = static_cast<uint64_t>(milliseconds);
  guard->Start(loop);
}

Sentry::~Sentry() {
  if (guard_ != nullptr) guard_->Close();
}

/// rest(): milliseconds until it looks next; -1 when it does not any more.
Napi::Value Sentry::Rest(const Napi::CallbackInfo& info) {
  const bool looks =
      guard_ != nullptr && uv_is_active(reinterpret_cast<uv_handle_t*>(&guard_->timer)) != 0;
  if (!looks) return Napi::Number::New(info.Env(), -1);
  uv_update_time(guard_->timer.loop);
  return Napi::Number::New(info.Env(), static_cast<double>(uv_timer_get_due_in(&guard_->timer)));
}

/// seen(): the used index at its last look, -1 when nothing waited.
Napi::Value Sentry::Seen(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), guard_ == nullptr ? -1 : guard_->seen);
}

/// again(seen): it looks from now on, whether it did before or not.
Napi::Value Sentry::Again(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto seen = static_cast<int32_t>(arguments.Integer(0, "seen", -1, 65535));
  if (!arguments.ok() || guard_ == nullptr) return info.Env().Undefined();
  guard_->seen = seen;
  guard_->Again();
  return info.Env().Undefined();
}

/// pause(): it does not look until again().
Napi::Value Sentry::Pause(const Napi::CallbackInfo& info) {
  if (guard_ != nullptr) uv_timer_stop(&guard_->timer);
  return info.Env().Undefined();
}

/// retire(): the ring is another one now. Whoever is called knows which.
Napi::Value Sentry::Retire(const Napi::CallbackInfo& info) {
  if (guard_ == nullptr) return info.Env().Undefined();
  guard_->retired = true;
  const bool looks = uv_is_active(reinterpret_cast<uv_handle_t*>(&guard_->timer)) != 0;
  if (looks) uv_timer_start(&guard_->timer, Guard::OnTimer, 0, 0);
  return info.Env().Undefined();
}

Napi::Value Sentry::Close(const Napi::CallbackInfo& info) {
  if (guard_ != nullptr) guard_->Close();
  return info.Env().Undefined();
}

Napi::Function Sentry::Define(Napi::Env env) {
  return DefineClass(
      env, "Sentry",
      {InstanceMethod<&Sentry::Rest>("rest"), InstanceMethod<&Sentry::Seen>("seen"),
       InstanceMethod<&Sentry::Again>("again"), InstanceMethod<&Sentry::Pause>("pause"),
       InstanceMethod<&Sentry::Retire>("retire"), InstanceMethod<&Sentry::Close>("close")});
}

void ExportSentry(Napi::Env env, Napi::Object exports) {
  exports.Set("Sentry", Sentry::Define(env));
}

}  // namespace vhost_net
