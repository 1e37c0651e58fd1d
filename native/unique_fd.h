#ifndef VHOST_NET_UNIQUE_FD_H_
#define VHOST_NET_UNIQUE_FD_H_

#include <unistd.h>

#include <type_traits>
#include <utility>

namespace vhost_net {

/// Owns one file descriptor. "None" is -1: 0 is a valid descriptor.
class UniqueFd {
 public:
  explicit UniqueFd(int fd = -1) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(-1); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  void Reset(int fd) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

  int fd_;
};

static_assert(!std::is_copy_constructible_v<UniqueFd>);

}  // namespace vhost_net

#endif  // VHOST_NET_UNIQUE_FD_H_
