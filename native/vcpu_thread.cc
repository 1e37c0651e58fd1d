#include "vcpu_thread.h"

#ifdef __x86_64__

#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <ctime>

namespace vhost_net {
namespace {

/// Ignored where nobody listens to it.
constexpr int kLastResort = SIGURG;

/// Gives a signal that nobody listens to a handler that does nothing. False: somebody does.
bool Occupy(int number) {
  struct sigaction present = {};
  if (::sigaction(number, nullptr, &present) < 0 || present.sa_handler != SIG_DFL) return false;
  struct sigaction nothing = {};
  nothing.sa_handler = [](int) {};
  ::sigemptyset(&nothing.sa_mask);
  return ::sigaction(number, &nothing, nullptr) == 0;
}

/// What interrupts KVM_RUN: a real-time signal that nobody else listens to. 0 when there is none
/// left.
int FindSignal() {
  for (int number = SIGRTMAX - 1; number > SIGRTMIN; number--) {
    if (Occupy(number)) return number;
  }
  return 0;
}

int TheSignal() {
  static const int number = FindSignal();
  return number;
}

/// A real-time signal is refused where the user may have no more of them on their way
/// (RLIMIT_SIGPENDING). A standard one comes all the same; should somebody listen to this one, he
/// hears it once too often.
void Interrupt(pthread_t thread) {
  if (::pthread_kill(thread, TheSignal()) == 0) return;
  Occupy(kLastResort);
  ::pthread_kill(thread, kLastResort);
}

/// Every other signal of the process is for threads that know what to do with it.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_ = {};
};

/// The largest access of a power of two that fits into `length` bytes, 4 at the most.
uint32_t Chunk(uint32_t length) { return length >= 4 ? 4 : length >= 2 ? 2 : 1; }

/// For how long either side looks before it sleeps. Not at all where both have one CPU: whoever
/// looks keeps the other from what it looks for.
std::chrono::microseconds Moment() {
  static const std::chrono::microseconds moment = [] {
    cpu_set_t ours;
    const bool alone = ::sched_getaffinity(0, sizeof ours, &ours) == 0 && CPU_COUNT(&ours) == 1;
    return std::chrono::microseconds(alone ? 0 : 50);
  }();
  return moment;
}

/// Nanoseconds of the clock that libuv goes by, too.
uint64_t Now() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

/// An interrupt message of delivery mode 3, "remote read": it interrupts nobody, but KVM then looks
/// what waits for the virtual CPU (`__apic_accept_irq()` of `arch/x86/kvm/lapic.c`).
constexpr uint32_t kMessageAddress = 0xfee00000;
constexpr uint32_t kRemoteRead = 3 << 8;

/// Whether `happens` does within a time.
template <typename Condition>
bool Within(std::chrono::microseconds time, Condition happens) {
  const auto end = std::chrono::steady_clock::now() + time;
  for (;;) {
    for (int i = 0; i < 64; i++) {
      if (happens()) return true;
      __builtin_ia32_pause();
    }
    if (std::chrono::steady_clock::now() >= end) return false;
  }
}

}  // namespace

bool Mailbox::Ask(const Access& access, uint32_t* answer, const std::function<void()>& wake) {
  if (aborted_) return false;
  access_ = access;
  state_ = State::kAsked;
  if (!listens_) wake();
  const bool soon = Within(Moment(), [this] { return answered(); });
  if (!soon) {
    std::unique_lock<std::mutex> guard(lock_);
    changed_.wait(guard, [this] { return answered(); });
  }
  if (aborted_) return false;
  *answer = answer_;
  state_ = State::kIdle;
  return true;
}

bool Mailbox::Take(Access* access) {
  State asked = State::kAsked;
  if (aborted_ || !state_.compare_exchange_strong(asked, State::kTaken)) return false;
  *access = access_;
  return true;
}

void Mailbox::Answer(uint32_t value) {
  answer_ = value;
  const std::lock_guard<std::mutex> guard(lock_);
  state_ = State::kAnswered;
  changed_.notify_one();
}

bool Mailbox::Look() {
  return Within(Moment(), [this] { return aborted_ || state_ == State::kAsked; }) && !aborted_;
}

void Mailbox::Abort() {
  nap_.End();
  const std::lock_guard<std::mutex> guard(lock_);
  aborted_ = true;
  changed_.notify_one();
}

int VcpuThread::Create(const std::shared_ptr<OpenFile>& kvm, std::shared_ptr<OpenFile> vm,
                       uint32_t id, std::unique_ptr<VcpuThread>* out, const char** refused) {
  *refused = "KVM_GET_VCPU_MMAP_SIZE";
  const int length = ::ioctl(kvm->fd.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (length < 0) return errno;
  *refused = "KVM_CREATE_VCPU";
  UniqueFd fd(::ioctl(vm->fd.get(), KVM_CREATE_VCPU, id));
  if (!fd.valid()) return errno;
  *refused = "";
  const auto bytes = static_cast<size_t>(length);
  void* run = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (run == MAP_FAILED) return errno;
  if (!vm->pci) vm->pci = std::make_shared<PciMirror>();
  out->reset(new VcpuThread(std::move(vm), std::move(fd), static_cast<kvm_run*>(run), bytes, id));
  return 0;
}

VcpuThread::~VcpuThread() {
  if (started_) {
    Stop();
    Join();
  }
  ::munmap(run_, run_length_);
}

int VcpuThread::Start(std::function<void()> wake) {
  if (TheSignal() == 0) return EAGAIN;
  wake_ = std::move(wake);
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, size_t{256} << 10);
  const SignalsBlocked blocked;
  const int refused = ::pthread_create(&thread_, &attributes, Main, this);
  ::pthread_attr_destroy(&attributes);
  started_ = refused == 0;
  return refused;
}

/// The flag before the signal: whoever comes to KVM_RUN after the signal finds the flag.
void VcpuThread::Stop() {
  mailbox_.Abort();
  __atomic_store_n(&run_->immediate_exit, 1, __ATOMIC_SEQ_CST);
  if (started_ && !joined_) Interrupt(thread_);
}

void VcpuThread::Join() {
  if (!started_ || joined_) return;
  ::pthread_join(thread_, nullptr);
  joined_ = true;
}

void* VcpuThread::Main(void* self) {
  auto* vcpu = static_cast<VcpuThread*>(self);
  ::prctl(PR_SET_NAME, ("vcpu-" + std::to_string(vcpu->id_)).c_str());
  sigset_t ours;
  ::sigemptyset(&ours);
  ::sigaddset(&ours, TheSignal());
  ::sigaddset(&ours, kLastResort);
  ::pthread_sigmask(SIG_UNBLOCK, &ours, nullptr);
  vcpu->Run();
  return nullptr;
}

/// What follows an end takes the loop's time as well: the end of a guest that only faults, and is
/// booted anew each time, waits its turn.
void VcpuThread::Run() {
  while (RunOnce()) {
  }
  if (!end_.stopped && !AwaitTurn()) end_.stopped = true;
  ended_.store(true, std::memory_order_release);
  wake_();
}

bool VcpuThread::RunOnce() {
  if (mailbox_.aborted()) {
    end_.stopped = true;
    return false;
  }
  if (::ioctl(fd_.get(), KVM_RUN, 0) == 0) {
    LookForInterrupts();
    return Handle();
  }
  // EAGAIN: a CPU that another one has to start first was woken.
  if (errno == EINTR || errno == EAGAIN) {
    exits_[KVM_EXIT_INTR].fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  end_.error = errno;
  return false;
}

/// KVM passes on what the PICs raise while the local APIC takes it, and does not look again when
/// the APIC takes it later (`pic_unlock()` of `arch/x86/kvm/i8259.c`). So the tick that comes while
/// a kernel sets up its APIC stays where it is, and no further one comes before it is acknowledged:
/// a guest on a slow or busy host would stand still for ever.
///
/// The PICs lead to the first virtual CPU, to which this message goes: one from the others would
/// only have it leave the guest, or wake it from HLT.
void VcpuThread::LookForInterrupts() {
  if (id_ != 0) return;
  kvm_msi message = {};
  message.address_lo = kMessageAddress;
  message.data = kRemoteRead;
  ::ioctl(vm_->fd.get(), KVM_SIGNAL_MSI, &message);
}

bool VcpuThread::Handle() {
  const uint32_t reason = run_->exit_reason;
  exits_[std::min<size_t>(reason, kReasons - 1)].fetch_add(1, std::memory_order_relaxed);
  switch (reason) {
    case KVM_EXIT_IO:
      return HandlePort();
    case KVM_EXIT_MMIO:
      return HandleMemory();
    case KVM_EXIT_INTR:
      return true;
    case KVM_EXIT_FAIL_ENTRY:
      return End(reason, run_->fail_entry.hardware_entry_failure_reason);
    case KVM_EXIT_INTERNAL_ERROR:
      return End(reason, run_->internal.suberror);
    case KVM_EXIT_SYSTEM_EVENT:
      return End(reason, run_->system_event.type);
    default:
      return End(reason, 0);
  }
}

bool VcpuThread::End(uint32_t reason, uint64_t detail) {
  end_.reason = reason;
  end_.detail = detail;
  return false;
}

bool VcpuThread::AwaitTurn() {
  uint64_t due = budget_ ? budget_->Due(Now()) : 0;
  if (due == 0) return true;
  const uint64_t began = Now();
  bool awaited = true;
  while (awaited && due > 0) {
    awaited = mailbox_.Sleep(due);
    due = budget_->Due(Now());
  }
  budget_->Waited(Now() - began);
  return awaited;
}

bool VcpuThread::Ask(const Access& access, uint32_t* answer) {
  if (AwaitTurn() && mailbox_.Ask(access, answer, wake_)) return true;
  end_.stopped = true;
  return false;
}

/// A string instruction comes as many accesses of one port.
bool VcpuThread::HandlePort() {
  const uint32_t size = run_->io.size;
  const bool write = run_->io.direction == KVM_EXIT_IO_OUT;
  uint8_t* data = reinterpret_cast<uint8_t*>(run_) + run_->io.data_offset;
  Access access = {write ? Question::kPortWrite : Question::kPortRead, run_->io.port, size, 0};
  for (uint32_t i = 0; i < run_->io.count; i++, data += size) {
    uint32_t answer = 0;
    if (write) std::memcpy(&access.value, data, size);
    if (!AskPort(access, &answer)) return false;
    if (!write) std::memcpy(data, &answer, size);
  }
  return true;
}

bool VcpuThread::AskPort(const Access& access, uint32_t* answer) {
  if (pci().Serve(access, answer)) return true;
  Access pending;
  if (pci().TakePending(access, &pending) && !Ask(pending, answer)) return false;
  return Ask(access, answer);
}

/// One that crosses a page comes with odd lengths.
bool VcpuThread::HandleMemory() {
  const uint32_t length = std::min<uint32_t>(run_->mmio.len, sizeof run_->mmio.data);
  const bool write = run_->mmio.is_write != 0;
  Access access = {write ? Question::kMemoryWrite : Question::kMemoryRead, 0, 0, 0};
  for (uint32_t done = 0; done < length; done += access.size) {
    uint32_t answer = 0;
    access.address = run_->mmio.phys_addr + done;
    access.size = Chunk(length - done);
    access.value = 0;
    if (write) std::memcpy(&access.value, &run_->mmio.data[done], access.size);
    if (!Ask(access, &answer)) return false;
    if (!write) std::memcpy(&run_->mmio.data[done], &answer, access.size);
  }
  return true;
}

}  // namespace vhost_net

#endif  // __x86_64__
