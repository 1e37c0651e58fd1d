#ifndef VHOST_NET_NAP_H_
#define VHOST_NET_NAP_H_

#include <uv.h>

#include <cstdint>

namespace vhost_net {

/// A wait for a time, which somebody else can end for ever. libuv's, by a clock that never goes
/// back: `std::condition_variable::wait_for` needs glibc 2.30, and to choose the clock of a
/// condition of POSIX binds to 2.34 where it is compiled there.
class Nap {
 public:
  Nap() {
    uv_mutex_init(&lock_);
    uv_cond_init(&changed_);
  }
  ~Nap() {
    uv_cond_destroy(&changed_);
    uv_mutex_destroy(&lock_);
  }
  Nap(const Nap&) = delete;
  Nap& operator=(const Nap&) = delete;

  /// False: it was ended, now or before.
  bool Sleep(uint64_t nanoseconds) {
    const uint64_t until = uv_hrtime() + nanoseconds;
    uv_mutex_lock(&lock_);
    for (uint64_t now = uv_hrtime(); !ended_ && now < until; now = uv_hrtime()) {
      uv_cond_timedwait(&changed_, &lock_, until - now);
    }
    const bool slept = !ended_;
    uv_mutex_unlock(&lock_);
    return slept;
  }

  /// Whoever sleeps, now or later, does not.
  void End() {
    uv_mutex_lock(&lock_);
    ended_ = true;
    uv_cond_broadcast(&changed_);
    uv_mutex_unlock(&lock_);
  }

 private:
  uv_mutex_t lock_ = {};
  uv_cond_t changed_ = {};
  bool ended_ = false;
};

}  // namespace vhost_net

#endif  // VHOST_NET_NAP_H_
