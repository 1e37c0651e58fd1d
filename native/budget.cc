#include "budget.h"

#include <uv.h>

#include "addon.h"

namespace vhost_net {
namespace {

constexpr napi_type_tag kTag = {0x7668'6f73'742d'6e65, 0x742d'6275'6467'6574};

constexpr uint64_t kMillion = 1'000'000;
/// An hour: more is no time that anybody saves up, or takes at once.
constexpr double kMostMilliseconds = 3'600'000;

double Milliseconds(uint64_t nanoseconds) { return static_cast<double>(nanoseconds) / kMillion; }

/// A number above or at `least` and up to `most`.
double Number(Arguments* arguments, const Napi::CallbackInfo& info, size_t index, const char* name,
              double least, double most) {
  if (!arguments->ok()) return least;
  if (index >= info.Length() || !info[index].IsNumber()) {
    arguments->FailType(name, "a number");
    return least;
  }
  const double value = info[index].As<Napi::Number>().DoubleValue();
  if (value >= least && value <= most) return value;
  arguments->FailRange(name, std::to_string(least) + " to " + std::to_string(most));
  return least;
}

}  // namespace

Budget::Budget(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Budget>(info) {
  Arguments arguments(info);
  const double share = Number(&arguments, info, 0, "share", 0.001, 1);
  const double most = Number(&arguments, info, 1, "milliseconds", 0, kMostMilliseconds);
  if (!arguments.ok()) return;
  budget_ =
      std::make_shared<LoopBudget>(share, static_cast<uint64_t>(most * kMillion), uv_hrtime());
  napi_type_tag_object(info.Env(), info.This(), &kTag);
}

Budget* Budget::From(const Napi::Value& value) {
  if (!value.IsObject()) return nullptr;
  bool tagged = false;
  napi_check_object_type_tag(value.Env(), value, &kTag, &tagged);
  return tagged ? Unwrap(value.As<Napi::Object>()) : nullptr;
}

/// charge(milliseconds)
Napi::Value Budget::Charge(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const double spent = Number(&arguments, info, 0, "milliseconds", 0, kMostMilliseconds);
  if (!arguments.ok() || !budget_) return info.Env().Undefined();
  budget_->Charge(static_cast<uint64_t>(spent * kMillion), uv_hrtime());
  return info.Env().Undefined();
}

/// due(): milliseconds to wait before more is taken
Napi::Value Budget::Due(const Napi::CallbackInfo& info) {
  const uint64_t due = budget_ ? budget_->Due(uv_hrtime()) : 0;
  return Napi::Number::New(info.Env(), Milliseconds(due));
}

/// statistics(): [milliseconds spent, waits, milliseconds waited]
Napi::Value Budget::Statistics(const Napi::CallbackInfo& info) {
  Napi::Array out = Napi::Array::New(info.Env());
  if (!budget_) return out;
  const LoopBudget::Counts counts = budget_->counts();
  out.Set(0U, Milliseconds(counts.spent));
  out.Set(1U, static_cast<double>(counts.waits));
  out.Set(2U, Milliseconds(counts.waited));
  return out;
}

Napi::Function Budget::Define(Napi::Env env) {
  return DefineClass(
      env, "LoopBudget",
      {InstanceMethod<&Budget::Charge>("charge"), InstanceMethod<&Budget::Due>("due"),
       InstanceMethod<&Budget::Statistics>("statistics")});
}

void ExportBudget(Napi::Env env, Napi::Object exports) {
  exports.Set("LoopBudget", Budget::Define(env));
}

}  // namespace vhost_net
