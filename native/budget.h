#ifndef VHOST_NET_BUDGET_H_
#define VHOST_NET_BUDGET_H_

#include <napi.h>

#include <memory>

#include "loop_budget.h"

namespace vhost_net {

/// The JavaScript face of a budget, which lives as long as this or a virtual CPU that has it.
class Budget : public Napi::ObjectWrap<Budget> {
 public:
  static Napi::Function Define(Napi::Env env);
  /// The wrapper behind a value, or null: of any other object the pointer would be another class's.
  static Budget* From(const Napi::Value& value);

  /// new LoopBudget(share, milliseconds)
  explicit Budget(const Napi::CallbackInfo& info);

  const std::shared_ptr<LoopBudget>& budget() const { return budget_; }

 private:
  Napi::Value Charge(const Napi::CallbackInfo& info);
  Napi::Value Due(const Napi::CallbackInfo& info);
  Napi::Value Statistics(const Napi::CallbackInfo& info);

  std::shared_ptr<LoopBudget> budget_;
};

}  // namespace vhost_net

#endif  // VHOST_NET_BUDGET_H_
