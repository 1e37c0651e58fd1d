#ifndef VHOST_NET_KEY_RIGHTS_H_
#define VHOST_NET_KEY_RIGHTS_H_

#ifdef __x86_64__
#include <cpuid.h>
#endif
#include <unistd.h>

#include <cstdint>

// Rights to memory by protection key (pkeys(7)) belong to a thread, and a new one inherits them. V8
// of Node 20 takes a key for the code that it compiles, so the threads of such a process have other
// rights than those of the kernel. Linux writes PKRU whenever it switches between threads whose
// rights differ (`x86_pkru_load()` of `arch/x86/kernel/process_64.c`); some dozen cycles on a
// processor, but an emulated one then forgets its whole TLB. So a worker is to have the rights of
// those that it takes turns with: threads of the kernel, which are what sends and what idles. Where
// the machine has one CPU it is JavaScript, and the worker keeps what it inherits.

namespace vhost_net {

#ifdef __x86_64__

/// What the kernel gives its own threads, and every new program, unless it was booted with another
/// `init_pkru`: all of key 0, nothing of the others (`init_pkru_value` of `arch/x86/mm/pkeys.c`).
constexpr uint32_t kInitialRights = 0x55555554;

/// Whether the kernel uses protection keys.
inline bool HasKeys() {
  constexpr unsigned kProtectionKeysEnabled = 1 << 4;  // OSPKE; <cpuid.h> of old compilers has none
  static const bool has = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (c & kProtectionKeysEnabled) != 0;
  }();
  return has;
}

inline uint32_t ReadRights() {
  uint32_t rights = 0, zero = 0;
  __asm__ volatile("rdpkru" : "=a"(rights), "=d"(zero) : "c"(0));
  return rights;
}

/// "memory": no access may be moved to where the thread has no right to it.
inline void WriteRights(uint32_t rights) {
  __asm__ volatile("wrpkru" : : "a"(rights), "c"(0), "d"(0) : "memory");
}

/// Until it goes, this thread has the rights that a worker is to have, and so has what it makes.
/// Nothing of V8 may be touched meanwhile.
class WorkerRights {
 public:
  WorkerRights() {
    if (!HasKeys() || ::sysconf(_SC_NPROCESSORS_ONLN) == 1) return;
    before_ = ReadRights();
    if (before_ != kInitialRights) WriteRights(kInitialRights);
  }
  ~WorkerRights() {
    if (before_ != kInitialRights) WriteRights(before_);
  }
  WorkerRights(const WorkerRights&) = delete;
  WorkerRights& operator=(const WorkerRights&) = delete;

 private:
  uint32_t before_ = kInitialRights;
};

#else

/// V8 takes keys on x64 alone.
class WorkerRights {
 public:
  WorkerRights() {}
};

#endif

}  // namespace vhost_net

#endif  // VHOST_NET_KEY_RIGHTS_H_
