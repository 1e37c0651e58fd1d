#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "addon.h"
#include "descriptor.h"

namespace vhost_net {
namespace {

/// bpfLoadSocketFilter(instructions): an eBPF program that is run for frames (struct bpf_insn, one
/// behind the other).
Napi::Value LoadSocketFilter(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto bytes = arguments.Bytes(0, "instructions");
  if (arguments.ok() && (bytes.ByteLength() == 0 || bytes.ByteLength() % sizeof(bpf_insn) != 0)) {
    arguments.FailRange("instructions", "whole instructions, at least one");
  }
  if (!arguments.ok()) return info.Env().Undefined();
  const char license[] = "GPL";
  bpf_attr attributes = {};
  attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
  attributes.insn_cnt = static_cast<uint32_t>(bytes.ByteLength() / sizeof(bpf_insn));
  attributes.insns = reinterpret_cast<uintptr_t>(bytes.Data());
  attributes.license = reinterpret_cast<uintptr_t>(license);
  // The kernel makes it close on exec.
  UniqueFd fd(static_cast<int>(::syscall(__NR_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes)));
  if (!fd.valid()) return ThrowSystem(info.Env(), errno, "bpf", "BPF_PROG_LOAD");
  return Descriptor::Make(info.Env(), std::move(fd));
}

}  // namespace

void ExportBpf(Napi::Env env, Napi::Object exports) {
  Export<LoadSocketFilter>(env, exports, "bpfLoadSocketFilter");
}

}  // namespace vhost_net
