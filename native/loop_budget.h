#ifndef VHOST_NET_LOOP_BUDGET_H_
#define VHOST_NET_LOOP_BUDGET_H_

#include <cstdint>
#include <mutex>

namespace vhost_net {

/// How much of an event loop's time the virtual CPUs of a machine may take: a share of the time
/// that passes, and what of it was saved up. Whoever took more waits until it is made up for. All
/// times are nanoseconds, those that are called `now` of one clock that never goes back.
class LoopBudget {
 public:
  /// What was counted.
  struct Counts {
    uint64_t spent;   ///< of the loop's time
    uint64_t waits;   ///< how often a virtual CPU had to wait
    uint64_t waited;  ///< for how long, all together
  };

  /// A share above 0 and up to 1; at first, and at the most, `most` is saved up.
  LoopBudget(double share, uint64_t most, uint64_t now);

  /// So much of the loop's time was taken.
  void Charge(uint64_t spent, uint64_t now);
  /// For how long to wait before more is taken; 0: not at all. Once over, it takes until there is
  /// enough for a burst again: to sleep after each access would cost more than the access.
  uint64_t Due(uint64_t now);
  /// Somebody has waited.
  void Waited(uint64_t time);
  Counts counts();

 private:
  void Refill(uint64_t now);

  std::mutex lock_;
  const double share_;
  const double most_;
  double saved_;  ///< negative: more was taken than there was
  uint64_t at_;   ///< when that was true
  bool over_ = false;
  Counts counts_ = {};
};

}  // namespace vhost_net

#endif  // VHOST_NET_LOOP_BUDGET_H_
