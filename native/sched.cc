#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "addon.h"

// CPUs and scheduling of a vhost worker. Which thread that is the addon itself has seen: a number
// from JavaScript might be any thread of the system by now.

namespace vhost_net {
namespace {

/// More CPUs than any kernel can have (CONFIG_NR_CPUS is at most 8192), in whole words of the mask.
constexpr size_t kMostCpus = 8192;
constexpr size_t kWordBits = 8 * sizeof(unsigned long);

using CpuMask = std::vector<unsigned long>;

/// The worker behind (vhost, ...), or 0 and an error thrown.
pid_t Worker(Arguments* arguments) {
  const std::shared_ptr<OpenFile> file = arguments->Vhost(0, "vhost");
  if (!arguments->ok()) return 0;
  if (file->worker == 0) arguments->FailType("vhost", "a descriptor whose worker is known");
  return file->worker;
}

/// workerGetAffinity(vhost): number[]. Raw system calls: glibc's set of CPUs may be too short.
Napi::Value GetAffinity(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const pid_t worker = Worker(&arguments);
  if (!arguments.ok()) return info.Env().Undefined();
  CpuMask mask(kMostCpus / kWordBits);
  if (::syscall(SYS_sched_getaffinity, worker, kMostCpus / 8, mask.data()) < 0) {
    return ThrowSystem(info.Env(), errno, "sched_getaffinity", "");
  }
  Napi::Array cpus = Napi::Array::New(info.Env());
  for (uint32_t cpu = 0; cpu < kMostCpus; cpu++) {
    if ((mask[cpu / kWordBits] >> cpu % kWordBits & 1) != 0) cpus.Set(cpus.Length(), cpu);
  }
  return cpus;
}

/// Sets the bits of the CPUs in an array; fails at what is none.
void ReadCpus(Arguments* arguments, const Napi::Array& cpus, CpuMask* mask) {
  if (cpus.Length() > kMostCpus) arguments->FailRange("cpus", "at most 8192 CPUs");
  for (uint32_t i = 0; arguments->ok() && i < cpus.Length(); i++) {
    napi_value element = nullptr;
    double cpu = -1;
    const bool number = napi_get_element(cpus.Env(), cpus, i, &element) == napi_ok &&
                        napi_get_value_double(cpus.Env(), element, &cpu) == napi_ok;
    if (number && cpu >= 0 && cpu < kMostCpus && cpu == static_cast<uint32_t>(cpu)) {
      const auto index = static_cast<uint32_t>(cpu);
      (*mask)[index / kWordBits] |= 1UL << index % kWordBits;
    } else {
      arguments->FailRange("cpus", "integers in 0..8191");
    }
  }
}

/// workerSetAffinity(vhost, cpus: number[])
Napi::Value SetAffinity(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const pid_t worker = Worker(&arguments);
  const Napi::Array cpus = arguments.Array(1, "cpus");
  CpuMask mask(kMostCpus / kWordBits);
  if (arguments.ok()) ReadCpus(&arguments, cpus, &mask);
  if (!arguments.ok()) return info.Env().Undefined();
  if (::syscall(SYS_sched_setaffinity, worker, kMostCpus / 8, mask.data()) < 0) {
    return ThrowSystem(info.Env(), errno, "sched_setaffinity", "");
  }
  return info.Env().Undefined();
}

/// workerGetScheduling(vhost): [policy, priority, nice]
Napi::Value GetScheduling(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const pid_t worker = Worker(&arguments);
  if (!arguments.ok()) return info.Env().Undefined();
  const int policy = ::sched_getscheduler(worker);
  if (policy < 0) return ThrowSystem(info.Env(), errno, "sched_getscheduler", "");
  sched_param parameters = {};
  if (::sched_getparam(worker, &parameters) < 0) {
    return ThrowSystem(info.Env(), errno, "sched_getparam", "");
  }
  errno = 0;  // -1 is a niceness as well
  const int nice = ::getpriority(PRIO_PROCESS, static_cast<id_t>(worker));
  if (errno != 0) return ThrowSystem(info.Env(), errno, "getpriority", "");
  Napi::Array row = Napi::Array::New(info.Env(), 3);
  row.Set(0U, policy & ~SCHED_RESET_ON_FORK);
  row.Set(1U, parameters.sched_priority);
  row.Set(2U, nice);
  return row;
}

/// `struct sched_attr` in its first version, which older C libraries do not have: policy, priority
/// and niceness change together, or not at all.
struct Scheduling {
  uint32_t size = sizeof(Scheduling);
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0;
  uint64_t deadline = 0;
  uint64_t period = 0;
};
static_assert(sizeof(Scheduling) == 48, "SCHED_ATTR_SIZE_VER0");

/// workerSetScheduling(vhost, policy, priority, nice)
Napi::Value SetScheduling(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const pid_t worker = Worker(&arguments);
  const int policy = static_cast<int>(arguments.Integer(1, "policy", 0, 99));
  const auto priority = static_cast<uint32_t>(arguments.Integer(2, "priority", 0, 99));
  const int nice = static_cast<int>(arguments.Integer(3, "nice", -20, 19));
  if (!arguments.ok()) return info.Env().Undefined();
  Scheduling wanted;
  wanted.policy = static_cast<uint32_t>(policy);
  wanted.priority = priority;
  wanted.nice = nice;
  if (::syscall(SYS_sched_setattr, worker, &wanted, 0) < 0) {
    return ThrowSystem(info.Env(), errno, "sched_setattr", "");
  }
  // That takes no niceness for a policy that has priorities; whoever may set those may set it.
  const bool fair = policy != SCHED_FIFO && policy != SCHED_RR;
  if (!fair && ::setpriority(PRIO_PROCESS, static_cast<id_t>(worker), nice) < 0) {
    return ThrowSystem(info.Env(), errno, "setpriority", "");
  }
  return info.Env().Undefined();
}

}  // namespace

void ExportSched(Napi::Env env, Napi::Object exports) {
  Export<GetAffinity>(env, exports, "workerGetAffinity");
  Export<SetAffinity>(env, exports, "workerSetAffinity");
  Export<GetScheduling>(env, exports, "workerGetScheduling");
  Export<SetScheduling>(env, exports, "workerSetScheduling");
}

}  // namespace vhost_net
