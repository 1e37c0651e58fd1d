// The budget of an event loop's time, driven by hand with a clock of its own. Prints for how many
// milliseconds somebody who wants more would have to wait.
#include <cstdio>

#include "../../../native/loop_budget.h"

using vhost_net::LoopBudget;

namespace {

constexpr uint64_t kMillisecond = 1'000'000;

uint64_t now = 5000 * kMillisecond;

/// The loop's time goes by, for somebody who takes it.
void Spend(LoopBudget* budget, uint64_t milliseconds) {
  now += milliseconds * kMillisecond;
  budget->Charge(milliseconds * kMillisecond, now);
}

void Print(const char* when, LoopBudget* budget) {
  std::printf("%s: %.0f\n", when, static_cast<double>(budget->Due(now)) / kMillisecond);
}

}  // namespace

int main() {
  LoopBudget half(0.5, 100 * kMillisecond, now);
  Print("at first", &half);
  Spend(&half, 199);
  Print("what was saved up and half of the time", &half);
  Spend(&half, 4);
  Print("more than that", &half);
  now += 20 * kMillisecond;
  Print("on the way", &half);
  now += 2 * kMillisecond;
  Print("when there is enough for a burst", &half);
  Spend(&half, 400);
  Print("after something that took long", &half);
  now += 10'000 * kMillisecond;
  Spend(&half, 199);
  Print("never more saved up than the most", &half);
  half.Waited(3 * kMillisecond);
  half.Waited(4 * kMillisecond);
  const LoopBudget::Counts counts = half.counts();
  std::printf("spent %lu, waited %lu times %lu\n", counts.spent / kMillisecond, counts.waits,
              counts.waited / kMillisecond);
  LoopBudget all(1, 0, now);
  Spend(&all, 5000);
  Print("where all of the time may be taken", &all);
  return 0;
}
