#include "netns.h"

#include <pthread.h>
#include <sched.h>

#include <cerrno>

namespace vhost_net {
namespace {

struct Errand {
  int netns = -1;
  const std::function<int()>& open;
  int fd = -1;
  int error = 0;
};

void* Run(void* data) {
  auto* errand = static_cast<Errand*>(data);
  if (::setns(errand->netns, CLONE_NEWNET) == 0) errand->fd = errand->open();
  if (errand->fd < 0) errand->error = errno;
  return nullptr;
}

}  // namespace

/// A namespace belongs to a thread, and this one also runs JavaScript's other work: so a throw-away
/// thread goes there and comes back with the descriptor.
int OpenInNetns(int netns, const std::function<int()>& open, UniqueFd* out) {
  Errand errand = {netns, open};
  if (netns < 0) {
    errand.fd = open();
    errand.error = errand.fd < 0 ? errno : 0;
  } else {
    pthread_t thread = 0;
    const int refused = ::pthread_create(&thread, nullptr, Run, &errand);
    if (refused != 0) return refused;
    ::pthread_join(thread, nullptr);
  }
  *out = UniqueFd(errand.fd);
  return errand.error;
}

}  // namespace vhost_net
