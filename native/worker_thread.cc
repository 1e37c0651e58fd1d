#include "worker_thread.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <iterator>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "unique_fd.h"

// A worker is found by looking, not by guessing. Its name holds the tid of the thread that called
// VHOST_SET_OWNER, in the initial PID namespace, and all workers of one thread share that name; so
// the threads before and after the call are compared. Since Linux 6.4 the worker is a thread of
// this process; before, and on request, it is a kernel thread, and invisible inside a PID
// namespace.

namespace vhost_net {
namespace {

/// Whether /proc knows this process by the number that system calls do. In a PID namespace it may
/// have been mounted outside, and then its numbers are other threads' in here.
bool ProcIsOurs() {
  char text[16];
  const ssize_t length = ::readlink("/proc/self", text, sizeof text);
  pid_t pid = 0;
  if (length > 0) std::from_chars(text, text + length, pid);
  return pid == ::getpid();
}

std::string ReadComm(const std::string& folder) {
  const UniqueFd fd(::open((folder + "/comm").c_str(), O_RDONLY | O_CLOEXEC));
  char text[32];
  const ssize_t length = fd.valid() ? ::read(fd.get(), text, sizeof text) : 0;
  std::string comm(text, length > 0 ? static_cast<size_t>(length) : 0);
  if (!comm.empty() && comm.back() == '\n') comm.pop_back();
  return comm;
}

/// The ids below `folder` whose thread's name `fits`.
template <typename Predicate>
std::set<pid_t> Named(const std::string& folder, Predicate fits) {
  std::set<pid_t> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(folder.c_str()), ::closedir);
  if (!directory) return found;
  while (const dirent* entry = ::readdir(directory.get())) {
    const char* name = entry->d_name;
    pid_t id = 0;  // stays so for what is not a number, such as the folder itself
    std::from_chars(name, name + std::strlen(name), id);
    if (id > 0 && fits(ReadComm(folder + "/" + name))) found.insert(id);
  }
  return found;
}

/// The only element that `after` has more than `before`, or 0.
pid_t OnlyNew(const std::set<pid_t>& before, const std::set<pid_t>& after) {
  std::set<pid_t> fresh;
  std::set_difference(after.begin(), after.end(), before.begin(), before.end(),
                      std::inserter(fresh, fresh.begin()));
  return fresh.size() == 1 ? *fresh.begin() : 0;
}

/// Workers that are threads of this process, whoever called for them.
std::set<pid_t> WorkerThreads() {
  return Named("/proc/self/task",
               [](const std::string& comm) { return comm.rfind("vhost-", 0) == 0; });
}

/// Workers that are kernel threads and that this very thread called for.
std::set<pid_t> KernelWorkers() {
  const std::string name = "vhost-" + std::to_string(::syscall(SYS_gettid));
  return Named("/proc", [&name](const std::string& comm) { return comm == name; });
}

/// What is known of this kernel's workers. One look at a time in the whole process: two Workers
/// would see each other's new thread.
struct Knowledge {
  std::mutex lock;
  bool may_be_kernel_thread = true;
  bool told = false;  ///< somebody asked for kernel threads, and may again
};

Knowledge& TheKnowledge() {
  static Knowledge knowledge;
  return knowledge;
}

}  // namespace

void ExpectKernelThreads() {
  const std::lock_guard<std::mutex> guard(TheKnowledge().lock);
  TheKnowledge().may_be_kernel_thread = TheKnowledge().told = true;
}

int FindNewWorker(const std::function<int()>& set_owner, pid_t* tid) {
  if (!ProcIsOurs()) return set_owner();
  Knowledge& known = TheKnowledge();
  const std::lock_guard<std::mutex> guard(known.lock);
  const std::set<pid_t> threads = WorkerThreads();
  std::set<pid_t> kernel_threads;
  if (known.may_be_kernel_thread) kernel_threads = KernelWorkers();
  const int error = set_owner();
  if (error != 0) return error;
  *tid = OnlyNew(threads, WorkerThreads());
  // A kernel that makes threads of this process once does so always, unless it is told otherwise.
  if (*tid != 0 && !known.told) known.may_be_kernel_thread = false;
  if (*tid == 0) *tid = OnlyNew(kernel_threads, KernelWorkers());
  return 0;
}

}  // namespace vhost_net
