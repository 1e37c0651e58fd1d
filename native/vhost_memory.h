#ifndef VHOST_NET_VHOST_MEMORY_H_
#define VHOST_NET_VHOST_MEMORY_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "open_file.h"

// What vhost may be told of this process's memory. No address that the kernel would use may lie
// outside pages that this addon mapped, or a wrong number would let it write into the process.

namespace vhost_net {

using Shares = std::vector<std::shared_ptr<Mapping>>;

/// What is too much for 64 bits is the most of them.
uint64_t SaturatingAdd(uint64_t a, uint64_t b);

/// True when the range is ours, and then `keep` holds a share of it, or the kernel's own half of
/// the addresses, which it refuses by itself.
bool MayPass(uint64_t address, uint64_t length, Shares* keep);

/// The same for the parts of a vring; then `vring->memory` holds shares of them.
bool MayPass(VringExtent* vring);

/// The log that lies in the range; of the kernel's own half, one that covers nothing. False when
/// the range is not ours.
bool MakeLog(uint64_t address, uint64_t length, DirtyLog* out);

/// The first guest address for which no bit is needed, with all pages of the memory table logged or
/// not.
uint64_t LoggedEnd(const OpenFile& file, bool logs_all);

/// The same for one vring's used ring; 0 when it is not logged.
uint64_t LoggedEnd(const VringExtent& vring);

}  // namespace vhost_net

#endif  // VHOST_NET_VHOST_MEMORY_H_
