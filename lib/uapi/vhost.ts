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
export const VHOST_SET_MEM_TABLE = 0x4008af03;
export const VHOST_SET_VRING_NUM = 0x4008af10;
export const VHOST_SET_VRING_ADDR = 0x4028af11;
export const VHOST_SET_VRING_BASE = 0x4008af12;
export const VHOST_GET_VRING_BASE = 0xc008af12;
export const VHOST_SET_VRING_KICK = 0x4008af20;
export const VHOST_SET_VRING_CALL = 0x4008af21;
export const VHOST_SET_VRING_ERR = 0x4008af22;
export const VHOST_SET_VRING_BUSYLOOP_TIMEOUT = 0x4008af23;
export const VHOST_GET_VRING_BUSYLOOP_TIMEOUT = 0x4008af24;
export const VHOST_NET_SET_BACKEND = 0x4008af30;

/** Bit number: every write of vhost is logged to a dirty bitmap. */
export const VHOST_F_LOG_ALL = 26;
/**
 * Bit number: vhost itself makes and strips the virtio-net header. The same bit as
 * `VIRTIO_F_ANY_LAYOUT`: passing a driver's acknowledgement on would move the header silently.
 */
export const VHOST_NET_F_VIRTIO_NET_HDR = 27;
