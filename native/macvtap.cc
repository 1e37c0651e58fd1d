#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include "addon.h"
#include "descriptor.h"
#include "netns.h"

// A macvtap's queues are opened by way of a character device. Its node is named after the
// interface's index, which is unique in one network namespace only, while all of them share /dev:
// so the node there may be another's, or be missing. Which device it is sysfs tells, a mount of
// which shows what is in the namespace that it was mounted in.

namespace vhost_net {
namespace {

constexpr int kFlags = O_RDWR | O_CLOEXEC | O_NONBLOCK;

/// Where the node of a queue is looked for, and why it could not be opened.
struct Node {
  std::string name;             ///< such as `tap5`
  const char* failed = "open";  ///< the system call that was refused
};

/// The device that sysfs has under this name; 0 and errno where there is none.
dev_t DeviceOf(const std::string& name) {
  const UniqueFd fd(::open(("/sys/class/macvtap/" + name + "/dev").c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return 0;
  char text[32];
  const ssize_t length = ::read(fd.get(), text, sizeof text);
  unsigned int major = 0;
  unsigned int minor = 0;
  const char* end = text + (length < 0 ? 0 : length);
  const auto [colon, error] = std::from_chars(text, end, major);
  if (error == std::errc() && colon != end && *colon == ':') {
    std::from_chars(colon + 1, end, minor);
    return makedev(major, minor);
  }
  errno = ENODEV;
  return 0;
}

/// Opening attaches a queue: another interface's node must not even be opened.
bool IsDevice(const std::string& path, dev_t device) {
  struct statx found = {};
  if (::statx(AT_FDCWD, path.c_str(), 0, STATX_TYPE, &found) < 0) return false;
  if (makedev(found.stx_rdev_major, found.stx_rdev_minor) == device) return true;
  errno = ENXIO;
  return false;
}

/// By the node in /dev; -1 and errno.
int OpenShared(const Node& node) {
  const dev_t device = DeviceOf(node.name);
  if (device == 0) return -1;
  const std::string path = "/dev/" + node.name;
  return IsDevice(path, device) ? ::open(path.c_str(), kFlags) : -1;
}

/// By a node of its own, in a mount namespace that ends with this thread: nobody else sees it, and
/// nothing is left of it.
int OpenPrivate(Node* node) {
  const auto refused = [node](const char* call, long result) {
    node->failed = call;
    return result < 0;
  };
  const char* place = "/sys";
  if (refused("unshare", ::unshare(CLONE_NEWNS))) return -1;
  if (refused("mount", ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr))) return -1;
  if (refused("mount", ::mount("sysfs", place, "sysfs", MS_RDONLY, nullptr))) return -1;
  node->failed = "open";
  const dev_t device = DeviceOf(node->name);
  if (device == 0) return -1;
  if (refused("mount", ::mount("tmpfs", place, "tmpfs", 0, "mode=0700"))) return -1;
  // By number: glibc 2.33 gave the function a new name.
  const auto make = [device](const char* path) {
    return ::syscall(SYS_mknodat, AT_FDCWD, path, S_IFCHR | 0600, device);
  };
  if (refused("mknod", make("/sys/node"))) return -1;
  node->failed = "open";
  return ::open("/sys/node", kFlags);
}

Refusal OpenPrivateIn(int netns, Node* node, UniqueFd* out) {
  const auto open = [node] { return OpenPrivate(node); };
  if (netns >= 0) return OpenInNetns(netns, open, out);
  const UniqueFd own(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!own.valid()) return {errno, "open"};
  return OpenInNetns(own.get(), open, out);
}

/// macvtapOpen(index, netns?): one more queue of the macvtap with this index.
Napi::Value Open(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const int64_t index = arguments.Integer(0, "index", 1, INT32_MAX);
  const int netns = arguments.OptionalFd(1, "netns");
  if (!arguments.ok()) return info.Env().Undefined();
  Node node = {"tap" + std::to_string(index)};
  UniqueFd fd(netns >= 0 ? -1 : OpenShared(node));
  const int shared_error = fd.valid() || netns >= 0 ? 0 : errno;
  if (!fd.valid() && shared_error != EACCES && shared_error != EBUSY) {
    const auto [error, on_the_way] = OpenPrivateIn(netns, &node, &fd);
    if (error != 0 && netns >= 0) {
      return ThrowSystem(info.Env(), error, on_the_way != nullptr ? on_the_way : node.failed, "",
                         "/dev/" + node.name);
    }
  }
  if (fd.valid()) return Descriptor::Make(info.Env(), std::move(fd));
  return ThrowSystem(info.Env(), shared_error, "open", "", "/dev/" + node.name);
}

}  // namespace

void ExportMacvtap(Napi::Env env, Napi::Object exports) {
  Export<Open>(env, exports, "macvtapOpen");
}

}  // namespace vhost_net
