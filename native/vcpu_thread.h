#ifndef VHOST_NET_VCPU_THREAD_H_
#define VHOST_NET_VCPU_THREAD_H_

#ifdef __x86_64__

#include <pthread.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "access.h"
#include "loop_budget.h"
#include "nap.h"
#include "open_file.h"
#include "pci_mirror.h"
#include "uapi_kvm.h"

namespace vhost_net {

/// Why a virtual CPU runs no more.
struct VcpuEnd {
  bool stopped = false;  ///< because Stop() said so
  int error = 0;         ///< errno of KVM_RUN, or 0
  uint32_t reason = 0;   ///< KVM_EXIT_*
  uint64_t detail = 0;   ///< what more the kernel says of that reason
};

/// Where the thread of a virtual CPU leaves its question and waits for the answer. Questions come
/// in bursts, so both sides look for a moment before they sleep: that is cheaper than to be woken.
class Mailbox {
 public:
  /// The thread's side. False: nobody will answer any more. `wake` is called where the other side
  /// does not look by itself.
  bool Ask(const Access& access, uint32_t* answer, const std::function<void()>& wake);
  /// The other side: whether there is a question that nobody has taken yet.
  bool Take(Access* access);
  void Answer(uint32_t value);
  /// The other side looks by itself from now on, or does not any more.
  void Listen(bool listens) { listens_ = listens; }
  /// Looks for a moment whether a question comes.
  bool Look();
  /// The thread's side. Waits; false: nobody will answer any more, and it was not waited.
  bool Sleep(uint64_t nanoseconds) { return nap_.Sleep(nanoseconds); }
  /// Every question, now and later, goes without an answer.
  void Abort();
  bool aborted() const { return aborted_; }

 private:
  enum class State { kIdle, kAsked, kTaken, kAnswered };

  bool answered() const { return aborted_ || state_ == State::kAnswered; }

  std::mutex lock_;
  std::condition_variable changed_;
  Nap nap_;
  std::atomic<State> state_ = State::kIdle;
  std::atomic<bool> aborted_ = false;
  std::atomic<bool> listens_ = false;
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
  PciMirror& pci() { return *vm_->pci; }
  /// What its questions are charged to, by whoever answers. Before Start(); without, it never
  /// waits.
  void SetBudget(std::shared_ptr<LoopBudget> budget) { budget_ = std::move(budget); }
  const std::shared_ptr<LoopBudget>& budget() const { return budget_; }
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
  void LookForInterrupts();
  bool Handle();
  bool HandlePort();
  bool AskPort(const Access& access, uint32_t* answer);
  bool HandleMemory();
  bool Ask(const Access& access, uint32_t* answer);
  /// Waits while too much of the loop's time was taken. False: nobody will answer any more.
  bool AwaitTurn();
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
  std::shared_ptr<LoopBudget> budget_;
  VcpuEnd end_;
  std::array<std::atomic<uint64_t>, kReasons> exits_ = {};
};

}  // namespace vhost_net

#endif  // __x86_64__

#endif  // VHOST_NET_VCPU_THREAD_H_
