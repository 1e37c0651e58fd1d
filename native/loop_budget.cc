#include "loop_budget.h"

#include <algorithm>

namespace vhost_net {
namespace {

/// What has to be there before somebody who was over goes on: some bursts' worth.
constexpr double kEnough = 10'000'000;

}  // namespace

LoopBudget::LoopBudget(double share, uint64_t most, uint64_t now)
    : share_(share), most_(static_cast<double>(most)), saved_(most_), at_(now) {}

void LoopBudget::Refill(uint64_t now) {
  if (now <= at_) return;
  saved_ = std::min(most_, saved_ + share_ * static_cast<double>(now - at_));
  at_ = now;
}

void LoopBudget::Charge(uint64_t spent, uint64_t now) {
  const std::lock_guard<std::mutex> guard(lock_);
  // In this order: while it was spent, nothing was saved up that would have been too much.
  saved_ -= static_cast<double>(spent);
  Refill(now);
  counts_.spent += spent;
}

uint64_t LoopBudget::Due(uint64_t now) {
  const std::lock_guard<std::mutex> guard(lock_);
  Refill(now);
  const double enough = std::min(kEnough, most_);
  over_ = saved_ < (over_ ? enough : 0);
  return over_ ? static_cast<uint64_t>((enough - saved_) / share_) + 1 : 0;
}

void LoopBudget::Waited(uint64_t time) {
  const std::lock_guard<std::mutex> guard(lock_);
  counts_.waits++;
  counts_.waited += time;
}

LoopBudget::Counts LoopBudget::counts() {
  const std::lock_guard<std::mutex> guard(lock_);
  return counts_;
}

}  // namespace vhost_net
