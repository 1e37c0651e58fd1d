#include "netns.h"

#include <pthread.h>
#include <sched.h>

#include <cerrno>

namespace vhost_net {
namespace {

struct Errand {
  int netns = -1;
  const std::function<int()>& open;
  UniqueFd* out = nullptr;
  Refusal refusal;
};

Refusal Open(const std::function<int()>& open, UniqueFd* out) {
  const int fd = open();
  const int error = fd < 0 ? errno : 0;
  *out = UniqueFd(fd);
  return {error, nullptr};
}

void* Run(void* data) {
  auto* errand = static_cast<Errand*>(data);
  if (::setns(errand->netns, CLONE_NEWNET) < 0) {
    errand->refusal = {errno, "setns"};
  } else {
    errand->refusal = Open(errand->open, errand->out);
  }
  return nullptr;
}

}  // namespace

/// A namespace belongs to a thread, and this one also runs JavaScript's other work: so a throw-away
/// thread goes there and comes back with the descriptor.
Refusal OpenInNetns(int netns, const std::function<int()>& open, UniqueFd* out) {
  if (netns < 0) return Open(open, out);
  Errand errand = {netns, open, out, {}};
  pthread_t thread = 0;
  const int refused = ::pthread_create(&thread, nullptr, Run, &errand);
  if (refused != 0) return {refused, "pthread_create"};
  ::pthread_join(thread, nullptr);
  return errand.refusal;
}

}  // namespace vhost_net
