#include "watcher.h"

#include <unistd.h>
#include <uv.h>

#include <cerrno>
#include <memory>

#include "addon.h"
#include "descriptor.h"
#include "link_events.h"

namespace vhost_net {

/// What lives as long as libuv knows the handle, which is longer than the wrapper: a handle may
/// only be freed in its close callback, and an environment must not end with one open.
struct Watch {
  uv_poll_t poll = {};
  std::shared_ptr<OpenFile> file;  // keeps the descriptor open for as long as it is polled
  Napi::Env env;
  Napi::FunctionReference callback;
  std::unique_ptr<Napi::AsyncContext> context;
  napi_async_cleanup_hook_handle hook = nullptr;
  Watcher* owner = nullptr;

  explicit Watch(Napi::Env environment) : env(environment) {}

  /// 0, or the errno. On failure nothing is left registered.
  int Start(uv_loop_t* loop);
  void Close();
  void Deliver();
  Napi::Value Read() const;

  static void OnReadable(uv_poll_t* handle, int status, int events);
  static void OnEnvironmentEnd(napi_async_cleanup_hook_handle handle, void* data);
  static void OnClosed(uv_handle_t* handle);
};

int Watch::Start(uv_loop_t* loop) {
  poll.data = this;
  const int failed = uv_poll_init(loop, &poll, file->fd.get());
  if (failed != 0) return -failed;
  if (napi_add_async_cleanup_hook(env, OnEnvironmentEnd, this, &hook) != napi_ok) hook = nullptr;
  const int refused = uv_poll_start(&poll, UV_READABLE, OnReadable);
  return -refused;
}

/// The order: out of JavaScript's sight, no further callback, then the handle itself. Once the poll
/// is stopped, libuv has taken the descriptor out of its epoll set, and its last owner may close
/// it. The context stays until the handle is gone: a callback that closes its own watcher still
/// runs inside it.
void Watch::Close() {
  if (owner != nullptr) owner->watch_ = nullptr;
  owner = nullptr;
  callback.Reset();
  uv_poll_stop(&poll);
  file.reset();
  uv_close(reinterpret_cast<uv_handle_t*>(&poll), OnClosed);
}

void Watch::OnClosed(uv_handle_t* handle) {
  std::unique_ptr<Watch> watch(static_cast<Watch*>(handle->data));
  if (watch->hook != nullptr) napi_remove_async_cleanup_hook(watch->hook);
}

/// A live poll in a Worker aborts the process when the Worker ends: close it before that.
void Watch::OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* data) {
  auto* watch = static_cast<Watch*>(data);
  if (uv_is_closing(reinterpret_cast<uv_handle_t*>(&watch->poll)) == 0) watch->Close();
}

void Watch::OnReadable(uv_poll_t* handle, int, int) {
  static_cast<Watch*>(handle->data)->Deliver();
}

/// What there is to tell; empty when another reader was faster, or it is an error that the next
/// signal brings again.
Napi::Value Watch::Read() const {
  if (file->kind == FileKind::kLinkEvents) return ReadLinkEvents(env, file->fd.get());
  uint64_t count = 0;
  if (::read(file->fd.get(), &count, sizeof count) < 0) return Napi::Value();
  return Napi::Number::New(env, static_cast<double>(count));
}

void Watch::Deliver() {
  const Napi::Env environment = env;  // the callback may close this watch
  const Napi::HandleScope scope(environment);
  const napi_value argument = Read();
  if (argument == nullptr) return;
  CallJavaScript(environment, *context, callback, 1, &argument, nullptr);
}

Watcher::Watcher(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Watcher>(info) {
  Arguments arguments(info);
  const std::shared_ptr<OpenFile> file = arguments.Watchable(0, "descriptor");
  const Napi::Function callback = arguments.Function(1, "callback");
  if (!arguments.ok()) return;
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(info.Env(), &loop);
  auto watch = std::make_unique<Watch>(info.Env());
  watch->file = file;
  watch->callback = Napi::Persistent(callback);
  watch->context = std::make_unique<Napi::AsyncContext>(info.Env(), "VHOST_NET_CALL");
  const int error = watch->Start(loop);
  if (error == 0) {
    watch->owner = this;
    watch_ = watch.release();
    return;
  }
  // libuv knows the handle once its initialisation succeeded: its close callback alone frees it.
  if (watch->poll.type == UV_POLL) watch.release()->Close();
  ThrowSystem(info.Env(), error, "epoll_ctl", "");
}

Watcher::~Watcher() {
  if (watch_ != nullptr) watch_->Close();
}

Napi::Value Watcher::Ref(const Napi::CallbackInfo& info) {
  if (watch_ != nullptr) uv_ref(reinterpret_cast<uv_handle_t*>(&watch_->poll));
  return info.Env().Undefined();
}

Napi::Value Watcher::Unref(const Napi::CallbackInfo& info) {
  if (watch_ != nullptr) uv_unref(reinterpret_cast<uv_handle_t*>(&watch_->poll));
  return info.Env().Undefined();
}

Napi::Value Watcher::Close(const Napi::CallbackInfo& info) {
  if (watch_ != nullptr) watch_->Close();
  return info.Env().Undefined();
}

Napi::Function Watcher::Define(Napi::Env env) {
  return DefineClass(
      env, "Watcher",
      {InstanceMethod<&Watcher::Ref>("ref"), InstanceMethod<&Watcher::Unref>("unref"),
       InstanceMethod<&Watcher::Close>("close")});
}

void ExportWatcher(Napi::Env env, Napi::Object exports) {
  exports.Set("Watcher", Watcher::Define(env));
}

}  // namespace vhost_net
