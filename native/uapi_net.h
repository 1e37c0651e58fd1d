#ifndef VHOST_NET_UAPI_NET_H_
#define VHOST_NET_UAPI_NET_H_

#ifdef __cplusplus
extern "C" {
#endif

/// A constant of a kernel header, by its own name.
typedef struct {
  const char* name;
  unsigned long long value;
} VhostNetConstant;

/// What <linux/virtio_net.h> says: its structs have a field named `class`, so only C can read it.
/// Ends with a null name.
extern const VhostNetConstant kVirtioNetConstants[];

#ifdef __cplusplus
}
#endif

#endif  // VHOST_NET_UAPI_NET_H_
