#ifndef VHOST_NET_NAP_H_
#define VHOST_NET_NAP_H_

#include <pthread.h>

#include <cerrno>
#include <cstdint>
#include <ctime>

namespace vhost_net {

/// A wait for a time, which somebody else can end for ever. By a clock that never goes back, and
/// with what every glibc has: `std::condition_variable::wait_for` would need 2.30 of it.
class Nap {
 public:
  Nap() {
    pthread_condattr_t attributes;
    ::pthread_condattr_init(&attributes);
    ::pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    ::pthread_cond_init(&changed_, &attributes);
    ::pthread_condattr_destroy(&attributes);
  }
  ~Nap() {
    ::pthread_cond_destroy(&changed_);
    ::pthread_mutex_destroy(&lock_);
  }
  Nap(const Nap&) = delete;
  Nap& operator=(const Nap&) = delete;

  /// False: it was ended, now or before.
  bool Sleep(uint64_t nanoseconds) {
    timespec until = {};
    ::clock_gettime(CLOCK_MONOTONIC, &until);
    const uint64_t sum = static_cast<uint64_t>(until.tv_nsec) + nanoseconds;
    until.tv_sec += static_cast<time_t>(sum / 1'000'000'000);
    until.tv_nsec = static_cast<long>(sum % 1'000'000'000);
    ::pthread_mutex_lock(&lock_);
    while (!ended_ && ::pthread_cond_timedwait(&changed_, &lock_, &until) != ETIMEDOUT) {
    }
    const bool slept = !ended_;
    ::pthread_mutex_unlock(&lock_);
    return slept;
  }

  /// Whoever sleeps, now or later, does not.
  void End() {
    ::pthread_mutex_lock(&lock_);
    ended_ = true;
    ::pthread_cond_broadcast(&changed_);
    ::pthread_mutex_unlock(&lock_);
  }

 private:
  pthread_mutex_t lock_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t changed_ = {};
  bool ended_ = false;
};

}  // namespace vhost_net

#endif  // VHOST_NET_NAP_H_
