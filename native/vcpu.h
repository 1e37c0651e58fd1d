#ifndef VHOST_NET_VCPU_H_
#define VHOST_NET_VCPU_H_

#ifdef __x86_64__

#include <napi.h>

#include <memory>

namespace vhost_net {

struct VcpuRun;

/// The JavaScript face of one virtual CPU: its registers while it does not run, and while it does a
/// callback on the environment's own loop for what leaves the kernel.
class Vcpu : public Napi::ObjectWrap<Vcpu> {
 public:
  static Napi::Function Define(Napi::Env env);

  /// new Vcpu(kvm, vm, id, budget?): what the questions of this one and of others are charged to.
  explicit Vcpu(const Napi::CallbackInfo& info);
  ~Vcpu() override;
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

 private:
  Napi::Value Get(const Napi::CallbackInfo& info);
  Napi::Value Set(const Napi::CallbackInfo& info);
  Napi::Value SetCpuid(const Napi::CallbackInfo& info);
  Napi::Value SetMsrs(const Napi::CallbackInfo& info);
  Napi::Value SetPciConfig(const Napi::CallbackInfo& info);
  Napi::Value Start(const Napi::CallbackInfo& info);
  Napi::Value Stop(const Napi::CallbackInfo& info);
  Napi::Value Statistics(const Napi::CallbackInfo& info);
  Napi::Value GetStatsFd(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);

  /// The virtual CPU while it does not run; null, and an error thrown, otherwise.
  VcpuRun* Idle(const Napi::CallbackInfo& info);

  std::shared_ptr<VcpuRun> run_;  ///< null once closed
};

}  // namespace vhost_net

#endif  // __x86_64__

#endif  // VHOST_NET_VCPU_H_
