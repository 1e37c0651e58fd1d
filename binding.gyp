{
  "variables": { "portable%": "no" },
  "targets": [
    {
      "target_name": "vhost_net",
      "sources": [
        "native/addon.cc",
        "native/bpf.cc",
        "native/budget.cc",
        "native/constants.cc",
        "native/copy.cc",
        "native/descriptor.cc",
        "native/eventfd.cc",
        "native/kvm.cc",
        "native/link.cc",
        "native/link_events.cc",
        "native/link_message.cc",
        "native/loop_budget.cc",
        "native/macvtap.cc",
        "native/mapping.cc",
        "native/netlink.cc",
        "native/netns.cc",
        "native/packet_socket.cc",
        "native/pages.cc",
        "native/pci_mirror.cc",
        "native/sched.cc",
        "native/sentry.cc",
        "native/tun.cc",
        "native/uapi_net.c",
        "native/vcpu.cc",
        "native/vcpu_thread.cc",
        "native/vhost.cc",
        "native/vhost_features.cc",
        "native/vhost_memory.cc",
        "native/vhost_vring.cc",
        "native/wait.cc",
        "native/watcher.cc",
        "native/worker_thread.cc"
      ],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "cflags": ["-Wall", "-Wextra", "-fvisibility=hidden"],
      "cflags_c": ["-std=c11"],
      "cflags_cc": ["-std=c++17", "-fno-exceptions", "-fno-rtti", "-Wno-cast-function-type"],
      "conditions": [
        ["portable=='yes'", {
          "cflags": ["-include", "<(module_root_dir)/native/old_glibc.h"],
          "ldflags": ["-static-libstdc++", "-Wl,--exclude-libs,ALL", "-Wl,--gc-sections"]
        }]
      ]
    }
  ]
}
