#ifndef VHOST_NET_ACCESS_H_
#define VHOST_NET_ACCESS_H_

#include <cstdint>

namespace vhost_net {

/// What a virtual CPU asks of user space.
enum class Question : uint32_t { kPortRead, kPortWrite, kMemoryRead, kMemoryWrite };

struct Access {
  Question question = Question::kPortRead;
  uint64_t address = 0;
  uint32_t size = 0;   ///< bytes: 1, 2 or 4
  uint32_t value = 0;  ///< of a write
};

}  // namespace vhost_net

#endif  // VHOST_NET_ACCESS_H_
