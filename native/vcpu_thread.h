#ifndef VHOST_NET_VCPU_THREAD_H_
#define VHOST_NET_VCPU_THREAD_H_

#ifdef __x86_64__

#include <pthread.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "open_file.h"
#include "uapi_kvm.h"

namespace vhost_net {

/// What a virtual CPU asks of user space.
enum class Question : uint32_t { kPortRead, kPortWrite, kMemoryRead, kMemoryWrite };

struct Access {
  Question question = Question::kPortRead;
  uint64_t address = 0;
  uint32_t size = 0;   ///< bytes: 1, 2 or 4
  uint32_t value = 0;  ///< of a write
};

/// Why a virtual CPU runs no more.
struct VcpuEnd {
  bool stopped = false;  ///< because Stop() said so
  int error = 0;         ///< errno of KVM_RUN, or 0
  uint32_t reason = 0;   ///< KVM_EXIT_*
  uint64_t detail = 0;   ///< what more the kernel says of that reason
};

/// Where the thread of a virtual CPU leaves its question and waits for the answer. `wake` tells the
/// other side that there is something; it is called on the thread, and under no lock.
class Mailbox {
 public:
  /// The thread's side. False: nobody will answer any more.
  bool Ask(const Access& access, uint32_t* answer, const std::function<void()>& wake);
  /// The other side: whether there is a question that nobody has taken yet.
  bool Take(Access* access);
  void Answer(uint32_t value);
  /// Every question, now and later, goes without an answer.
  void Abort();
  bool aborted();

 private:
  enum class State { kIdle, kAsked, kTaken, kAnswered };

  std::mutex lock_;
  std::condition_variable changed_;
  State state_ = State::kIdle;
  bool aborted_ = false;
  Access access_;
  uint32_t answer_ = 0;
};

/// One virtual CPU and the thread that runs it.
class VcpuThread {
 public:
  /// More than there are KVM_EXIT_* reasons.
  static constexpr size_t kReasons = 64;

  /// 0, or the errno, with what was refused in `refused`.
  static int Create(const std::shared_ptr<OpenFile>& kvm, std::shared_ptr<OpenFile> vm, uint32_t id,
                    std::unique_ptr<VcpuThread>* out, const char** refused);
  ~VcpuThread();
  VcpuThread(const VcpuThread&) = delete;
  VcpuThread& operator=(const VcpuThread&) = delete;

  int fd() const { return fd_.get(); }
  bool started() const { return started_; }
  Mailbox& mailbox() { return mailbox_; }
  uint64_t exits(size_t reason) const { return exits_[reason].load(std::memory_order_relaxed); }

  /// Once. 0, or the errno. `wake` is called on the thread when it has a question, and as the last
  /// thing when it has ended.
  int Start(std::function<void()> wake);
  /// The order that does not deadlock: no answer will come, then out of the guest.
  void Stop();
  /// Whether the thread has nothing more to do; then Join() does not wait.
  bool ended() const { return ended_.load(std::memory_order_acquire); }
  void Join();
  const VcpuEnd& end() const { return end_; }

 private:
  VcpuThread(std::shared_ptr<OpenFile> vm, UniqueFd fd, kvm_run* run, size_t run_length,
             uint32_t id)
      : vm_(std::move(vm)), fd_(std::move(fd)), run_(run), run_length_(run_length), id_(id) {}

  static void* Main(void* self);
  void Run();
  /// False: the thread is to end, and `end_` says why.
  bool RunOnce();
  bool Handle();
  bool HandlePort();
  bool HandleMemory();
  bool Ask(const Access& access, uint32_t* answer);
  bool End(uint32_t reason, uint64_t detail);

  // Members go in reverse order: the virtual CPU before the machine, whose memory it runs in.
  std::shared_ptr<OpenFile> vm_;
  UniqueFd fd_;
  kvm_run* run_;
  size_t run_length_;
  uint32_t id_;
  bool started_ = false;
  bool joined_ = false;
  pthread_t thread_ = 0;
  std::atomic<bool> ended_ = false;
  std::function<void()> wake_;
  Mailbox mailbox_;
  VcpuEnd end_;
  std::array<std::atomic<uint64_t>, kReasons> exits_ = {};
};

}  // namespace vhost_net

#endif  // __x86_64__

#endif  // VHOST_NET_VCPU_THREAD_H_
