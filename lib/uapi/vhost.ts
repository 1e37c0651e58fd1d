/**
 * `<linux/vhost.h>` and `<linux/vhost_types.h>`: names untouched, so that they can be searched for
 * in the kernel's tree. Held against the headers by a test.
 */

/** Vring index of vhost-net, as the driver sees it: frames to us. `drivers/vhost/net.c`. */
export const VHOST_NET_VQ_RX = 0;
/** Vring index of vhost-net, as the driver sees it: frames from us. `drivers/vhost/net.c`. */
export const VHOST_NET_VQ_TX = 1;

export const VHOST_SET_OWNER = 0xaf01;
export const VHOST_RESET_OWNER = 0xaf02;
export const VHOST_GET_FEATURES = 0x8008af00;
export const VHOST_SET_FEATURES = 0x4008af00;
/** Linux 6.17: features of more than 64 bits. */
export const VHOST_GET_FEATURES_ARRAY = 0x8008af83;
export const VHOST_SET_FEATURES_ARRAY = 0x4008af83;
export const VHOST_GET_BACKEND_FEATURES = 0x8008af26;
export const VHOST_SET_BACKEND_FEATURES = 0x4008af25;
/** Linux 6.17 and stable kernels of 6.12: what kind of thread the worker is to be. */
export const VHOST_SET_FORK_FROM_OWNER = 0x4001af84;
export const VHOST_GET_FORK_FROM_OWNER = 0x8001af85;
export const VHOST_SET_MEM_TABLE = 0x4008af03;
export const VHOST_SET_LOG_BASE = 0x4008af04;
export const VHOST_SET_LOG_FD = 0x4004af07;
export const VHOST_SET_VRING_NUM = 0x4008af10;
export const VHOST_SET_VRING_ADDR = 0x4028af11;
export const VHOST_SET_VRING_BASE = 0x4008af12;
export const VHOST_GET_VRING_BASE = 0xc008af12;
export const VHOST_SET_VRING_KICK = 0x4008af20;
export const VHOST_SET_VRING_CALL = 0x4008af21;
export const VHOST_SET_VRING_ERR = 0x4008af22;
/** Only of kernels with `CONFIG_VHOST_CROSS_ENDIAN_LEGACY`. */
export const VHOST_SET_VRING_ENDIAN = 0x4008af13;
export const VHOST_GET_VRING_ENDIAN = 0x4008af14;
export const VHOST_SET_VRING_BUSYLOOP_TIMEOUT = 0x4008af23;
export const VHOST_GET_VRING_BUSYLOOP_TIMEOUT = 0x4008af24;
export const VHOST_NET_SET_BACKEND = 0x4008af30;

/** `VHOST_SET_FORK_FROM_OWNER`: the worker is a kernel thread, as before Linux 6.4. */
export const VHOST_FORK_OWNER_KTHREAD = 0;
/** `VHOST_SET_FORK_FROM_OWNER`: the worker is a thread of this process. */
export const VHOST_FORK_OWNER_TASK = 1;
export const VHOST_VRING_LITTLE_ENDIAN = 0;
export const VHOST_VRING_BIG_ENDIAN = 1;
/** Bit number of `flags` in `VHOST_SET_VRING_ADDR`: writes to the used ring are logged. */
export const VHOST_VRING_F_LOG = 0;
/** Bit number of a backend feature: messages about the IOTLB come in their second form. */
export const VHOST_BACKEND_F_IOTLB_MSG_V2 = 1;

/** Bit number: every write of vhost is logged to a dirty bitmap. */
export const VHOST_F_LOG_ALL = 26;
/**
 * Bit number: vhost itself makes and strips the virtio-net header. The same bit as
 * `VIRTIO_F_ANY_LAYOUT`: passing a driver's acknowledgement on would move the header silently.
 */
export const VHOST_NET_F_VIRTIO_NET_HDR = 27;
