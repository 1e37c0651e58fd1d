#include "vcpu.h"

#include "addon.h"

#ifdef __x86_64__

#include <sys/ioctl.h>
#include <uv.h>

#include <cerrno>
#include <cstring>
#include <iterator>
#include <vector>

#include "budget.h"
#include "descriptor.h"
#include "vcpu_thread.h"

namespace vhost_net {
namespace {

constexpr uint64_t kBurstNanoseconds = 2'000'000;

}  // namespace

/// What lives as long as libuv knows the handle or the wrapper is there, whichever is longer: the
/// thread must have ended before the environment does.
struct VcpuRun {
  Napi::Env env;
  std::unique_ptr<VcpuThread> thread;
  Napi::FunctionReference callback;
  std::unique_ptr<Napi::AsyncContext> context;
  napi_async_cleanup_hook_handle hook = nullptr;
  uv_async_t async = {};
  std::shared_ptr<VcpuRun> self;  ///< for as long as libuv knows the handle
  bool begun = false;
  bool running = false;
  bool environment_ends = false;
  uint64_t calls = 0;    ///< how often JavaScript was asked
  uint64_t charged = 0;  ///< until when the loop's time is paid for

  explicit VcpuRun(Napi::Env environment) : env(environment) {}

  /// 0, or the errno. On failure nothing is left registered.
  int Start(std::shared_ptr<VcpuRun> me);
  void Deliver();
  void Serve();
  void Charge();
  void Finish();
  /// What JavaScript answers, or all ones.
  uint32_t Call(const napi_value* arguments, size_t count);
  uint32_t AskJavaScript(const Access& access);
  void TellEnd();

  static void OnAsync(uv_async_t* handle);
  static void OnEnvironmentEnd(napi_async_cleanup_hook_handle handle, void* data);
  static void OnClosed(uv_handle_t* handle);
};

int VcpuRun::Start(std::shared_ptr<VcpuRun> me) {
  begun = true;
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  const int failed = uv_async_init(loop, &async, OnAsync);
  if (failed != 0) return -failed;
  async.data = this;
  self = std::move(me);
  if (napi_add_async_cleanup_hook(env, OnEnvironmentEnd, this, &hook) != napi_ok) hook = nullptr;
  const int refused = thread->Start([handle = &async] { uv_async_send(handle); });
  running = refused == 0;
  if (refused != 0) uv_close(reinterpret_cast<uv_handle_t*>(&async), OnClosed);
  return refused;
}

void VcpuRun::OnClosed(uv_handle_t* handle) {
  auto* run = static_cast<VcpuRun*>(handle->data);
  const std::shared_ptr<VcpuRun> last = std::move(run->self);
  // The hook keeps the environment, which these need to go.
  run->callback.Reset();
  run->context.reset();
  if (run->hook != nullptr) napi_remove_async_cleanup_hook(run->hook);
  run->hook = nullptr;
}

/// The loop goes on until the hook is removed, which is after the thread has ended.
void VcpuRun::OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* data) {
  auto* run = static_cast<VcpuRun*>(data);
  run->environment_ends = true;
  run->callback.Reset();
  if (run->running) run->thread->Stop();
}

void VcpuRun::OnAsync(uv_async_t* handle) { static_cast<VcpuRun*>(handle->data)->Deliver(); }

/// Stays for a burst, but not for so long that the rest of the loop has to wait.
void VcpuRun::Deliver() {
  const std::shared_ptr<VcpuRun> alive = self;
  charged = uv_hrtime();
  const uint64_t until = charged + kBurstNanoseconds;
  thread->mailbox().Listen(true);
  do Serve();
  while (uv_hrtime() < until && !environment_ends && thread->mailbox().Look());
  thread->mailbox().Listen(false);
  // One that came since, and called nobody because somebody listened.
  Serve();
  Charge();
  if (running && thread->ended()) Finish();
}

void VcpuRun::Serve() {
  Access access;
  if (environment_ends || !thread->mailbox().Take(&access)) return;
  calls++;
  const uint32_t answer = AskJavaScript(access);
  // Before the answer: the next question is not to come before it is known what this one took.
  Charge();
  thread->mailbox().Answer(answer);
}

/// All of the time since the last charge, looking for the next question included.
void VcpuRun::Charge() {
  const uint64_t now = uv_hrtime();
  if (thread->budget()) thread->budget()->Charge(now - charged, now);
  charged = now;
}

/// The thread has said its last word, so this does not wait for it. JavaScript hears of it when
/// nothing is left of the run.
void VcpuRun::Finish() {
  running = false;
  thread->Join();
  uv_close(reinterpret_cast<uv_handle_t*>(&async), OnClosed);
  if (environment_ends) return;
  TellEnd();
  callback.Reset();
}

uint32_t VcpuRun::AskJavaScript(const Access& access) {
  const Napi::HandleScope scope(env);
  const napi_value arguments[] = {Napi::Number::New(env, static_cast<uint32_t>(access.question)),
                                  Napi::Number::New(env, static_cast<double>(access.address)),
                                  Napi::Number::New(env, access.size),
                                  Napi::Number::New(env, access.value)};
  return Call(arguments, std::size(arguments));
}

/// The question that is none: (-1, reason, errno, detail), with reason -1 for "as Stop() said".
void VcpuRun::TellEnd() {
  const Napi::HandleScope scope(env);
  const VcpuEnd& end = thread->end();
  const double reason = end.stopped ? -1.0 : static_cast<double>(end.reason);
  const napi_value arguments[] = {Napi::Number::New(env, -1), Napi::Number::New(env, reason),
                                  Napi::Number::New(env, end.error),
                                  Napi::Number::New(env, static_cast<double>(end.detail))};
  Call(arguments, std::size(arguments));
}

uint32_t VcpuRun::Call(const napi_value* arguments, size_t count) {
  napi_value result = nullptr;
  const napi_status status = CallJavaScript(env, *context, callback, count, arguments, &result);
  uint32_t answer = UINT32_MAX;
  if (status == napi_ok && napi_get_value_uint32(env, result, &answer) != napi_ok) {
    answer = UINT32_MAX;
  }
  return answer;
}

namespace {

/// A part of a virtual CPU's state that is one structure.
struct State {
  const char* name;
  size_t length;
  unsigned long get;
  unsigned long set;
  const char* get_name;
  const char* set_name;
};

#define STATE(name, type, request)                                                 \
  {                                                                                \
    name, sizeof(type), KVM_GET_##request, KVM_SET_##request, "KVM_GET_" #request, \
        "KVM_SET_" #request                                                        \
  }

constexpr State kStates[] = {
    STATE("regs", kvm_regs, REGS),
    STATE("sregs", kvm_sregs, SREGS),
    STATE("fpu", kvm_fpu, FPU),
    STATE("lapic", kvm_lapic_state, LAPIC),
    STATE("mpState", kvm_mp_state, MP_STATE),
};

const State* FindState(Arguments* arguments) {
  const std::string name = arguments->String(0, "state", 16);
  for (const State& state : kStates) {
    if (name == state.name) return &state;
  }
  if (arguments->ok()) arguments->FailRange("state", "regs, sregs, fpu, lapic or mpState");
  return nullptr;
}

}  // namespace

Vcpu::Vcpu(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Vcpu>(info) {
  Arguments arguments(info);
  const std::shared_ptr<OpenFile> kvm = arguments.Kvm(0, "kvm");
  const std::shared_ptr<OpenFile> vm = arguments.Vm(1, "vm");
  const uint32_t id = arguments.Unsigned(2, "id", 4095);
  const Budget* budget = arguments.Has(3) ? Budget::From(info[3]) : nullptr;
  if (arguments.Has(3) && budget == nullptr) arguments.FailType("budget", "a LoopBudget");
  if (!arguments.ok()) return;
  auto run = std::make_shared<VcpuRun>(info.Env());
  const char* refused = "";
  const int error = VcpuThread::Create(kvm, vm, id, &run->thread, &refused);
  if (error != 0) {
    ThrowSystem(info.Env(), error, *refused == '\0' ? "mmap" : "ioctl", refused);
    return;
  }
  if (budget != nullptr) run->thread->SetBudget(budget->budget());
  run->context = std::make_unique<Napi::AsyncContext>(info.Env(), "VHOST_NET_VCPU");
  run_ = std::move(run);
}

Vcpu::~Vcpu() {
  if (run_ && run_->running) run_->thread->Stop();
}

VcpuRun* Vcpu::Idle(const Napi::CallbackInfo& info) {
  const char* why = !run_ ? "the vCPU is closed" : run_->running ? "the vCPU runs" : nullptr;
  if (why == nullptr) return run_.get();
  Napi::TypeError::New(info.Env(), why).ThrowAsJavaScriptException();
  return nullptr;
}

/// get(state): its bytes.
Napi::Value Vcpu::Get(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const State* state = FindState(&arguments);
  VcpuRun* run = arguments.ok() ? Idle(info) : nullptr;
  if (run == nullptr) return info.Env().Undefined();
  std::vector<uint8_t> bytes(state->length);
  if (::ioctl(run->thread->fd(), state->get, bytes.data()) < 0) {
    return ThrowSystem(info.Env(), errno, "ioctl", state->get_name);
  }
  Napi::Uint8Array out = Napi::Uint8Array::New(info.Env(), bytes.size());
  std::memcpy(out.Data(), bytes.data(), bytes.size());
  return out;
}

/// set(state, bytes)
Napi::Value Vcpu::Set(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const State* state = FindState(&arguments);
  const Napi::Uint8Array given = arguments.Bytes(1, "bytes");
  if (arguments.ok() && given.ByteLength() != state->length) {
    arguments.FailRange("bytes", std::to_string(state->length) + " bytes");
  }
  VcpuRun* run = arguments.ok() ? Idle(info) : nullptr;
  if (run == nullptr) return info.Env().Undefined();
  std::vector<uint8_t> bytes(given.Data(), given.Data() + given.ByteLength());
  if (::ioctl(run->thread->fd(), state->set, bytes.data()) < 0) {
    return ThrowSystem(info.Env(), errno, "ioctl", state->set_name);
  }
  return info.Env().Undefined();
}

/// setCpuid(rows): of each leaf function, index, flags, eax, ebx, ecx, edx.
Napi::Value Vcpu::SetCpuid(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const std::vector<uint32_t> rows = arguments.Words32(0, "rows", 7, 256);
  VcpuRun* run = arguments.ok() ? Idle(info) : nullptr;
  if (run == nullptr) return info.Env().Undefined();
  const size_t count = rows.size() / 7;
  std::vector<uint8_t> space(sizeof(kvm_cpuid2) + count * sizeof(kvm_cpuid_entry2));
  auto* cpuid = reinterpret_cast<kvm_cpuid2*>(space.data());
  cpuid->nent = static_cast<uint32_t>(count);
  for (size_t i = 0; i < count; i++) {
    const uint32_t* row = &rows[7 * i];
    cpuid->entries[i] = {row[0], row[1], row[2], row[3], row[4], row[5], row[6], {}};
  }
  if (::ioctl(run->thread->fd(), KVM_SET_CPUID2, cpuid) < 0) {
    return ThrowSystem(info.Env(), errno, "ioctl", "KVM_SET_CPUID2");
  }
  return info.Env().Undefined();
}

/// setMsrs(rows): of each its index and value, lower half first. Returns how many the kernel took:
/// it goes on until one that it refuses.
Napi::Value Vcpu::SetMsrs(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const std::vector<uint32_t> rows = arguments.Words32(0, "rows", 3, 256);
  VcpuRun* run = arguments.ok() ? Idle(info) : nullptr;
  if (run == nullptr) return info.Env().Undefined();
  const size_t count = rows.size() / 3;
  std::vector<uint8_t> space(sizeof(kvm_msrs) + count * sizeof(kvm_msr_entry));
  auto* msrs = reinterpret_cast<kvm_msrs*>(space.data());
  msrs->nmsrs = static_cast<uint32_t>(count);
  for (size_t i = 0; i < count; i++) {
    msrs->entries[i].index = rows[3 * i];
    msrs->entries[i].data = uint64_t{rows[3 * i + 2]} << 32 | rows[3 * i + 1];
  }
  const int taken = ::ioctl(run->thread->fd(), KVM_SET_MSRS, msrs);
  if (taken < 0) return ThrowSystem(info.Env(), errno, "ioctl", "KVM_SET_MSRS");
  return Napi::Number::New(info.Env(), taken);
}

/// start(callback), once: what it returns for (question, address, size, value) is the answer.
Napi::Value Vcpu::Start(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const Napi::Function callback = arguments.Function(0, "callback");
  VcpuRun* run = arguments.ok() ? Idle(info) : nullptr;
  if (run == nullptr) return info.Env().Undefined();
  if (run->begun) {
    Napi::TypeError::New(info.Env(), "the vCPU has run already").ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }
  run->callback = Napi::Persistent(callback);
  const int error = run->Start(run_);
  if (error != 0) return ThrowSystem(info.Env(), error, "pthread_create", "");
  return info.Env().Undefined();
}

/// setPciConfig(slot, bytes, asked, askedEnd), also while it runs: what reads of that slot are
/// answered with, but for those between the two. The first call says what is not told is not there.
Napi::Value Vcpu::SetPciConfig(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const uint32_t slot = arguments.Unsigned(0, "slot", 31);
  const Napi::Uint8Array bytes = arguments.Bytes(1, "bytes");
  const uint32_t asked = arguments.Unsigned(2, "asked", PciMirror::kConfigBytes);
  const uint32_t asked_end = arguments.Unsigned(3, "askedEnd", PciMirror::kConfigBytes);
  if (arguments.ok() && bytes.ByteLength() != PciMirror::kConfigBytes) {
    arguments.FailRange("bytes", "256 bytes");
  }
  if (arguments.ok() && run_) run_->thread->pci().Set(slot, bytes.Data(), asked, asked_end);
  return info.Env().Undefined();
}

/// stop(): asks the thread to end, and does not wait for it; the callback hears when it has.
Napi::Value Vcpu::Stop(const Napi::CallbackInfo& info) {
  if (run_ && run_->running) run_->thread->Stop();
  return info.Env().Undefined();
}

/// statistics(): [calls into JavaScript, exits by reason...]
Napi::Value Vcpu::Statistics(const Napi::CallbackInfo& info) {
  Napi::Array out = Napi::Array::New(info.Env());
  if (!run_) return out;
  out.Set(0U, static_cast<double>(run_->calls));
  for (uint32_t reason = 0; reason < VcpuThread::kReasons; reason++) {
    out.Set(reason + 1, static_cast<double>(run_->thread->exits(reason)));
  }
  return out;
}

/// getStatsFd(): a descriptor to read the kernel's own counters from, also while it runs. Asked for
/// before: the kernel answers no ioctl of a vCPU that is in the guest.
Napi::Value Vcpu::GetStatsFd(const Napi::CallbackInfo& info) {
  VcpuRun* run = Idle(info);
  if (run == nullptr) return info.Env().Undefined();
  UniqueFd fd(::ioctl(run->thread->fd(), KVM_GET_STATS_FD, 0));
  if (!fd.valid()) return ThrowSystem(info.Env(), errno, "ioctl", "KVM_GET_STATS_FD");
  return Descriptor::Make(info.Env(), std::move(fd));
}

/// close(): not while it runs. The virtual CPU goes at once, whoever still holds the rest.
Napi::Value Vcpu::Close(const Napi::CallbackInfo& info) {
  if (!run_ || Idle(info) == nullptr) return info.Env().Undefined();
  run_->thread.reset();
  run_.reset();
  return info.Env().Undefined();
}

Napi::Function Vcpu::Define(Napi::Env env) {
  return DefineClass(
      env, "Vcpu",
      {InstanceMethod<&Vcpu::Get>("get"), InstanceMethod<&Vcpu::Set>("set"),
       InstanceMethod<&Vcpu::SetCpuid>("setCpuid"), InstanceMethod<&Vcpu::SetMsrs>("setMsrs"),
       InstanceMethod<&Vcpu::SetPciConfig>("setPciConfig"), InstanceMethod<&Vcpu::Start>("start"),
       InstanceMethod<&Vcpu::Stop>("stop"), InstanceMethod<&Vcpu::Statistics>("statistics"),
       InstanceMethod<&Vcpu::GetStatsFd>("getStatsFd"), InstanceMethod<&Vcpu::Close>("close")});
}

void ExportVcpu(Napi::Env env, Napi::Object exports) { exports.Set("Vcpu", Vcpu::Define(env)); }

}  // namespace vhost_net

#else

namespace vhost_net {

void ExportVcpu(Napi::Env, Napi::Object) {}

}  // namespace vhost_net

#endif
