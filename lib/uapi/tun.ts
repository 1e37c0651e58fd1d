/**
 * `<linux/if_tun.h>` and the flags of `<linux/if.h>`: names untouched. Held against the headers by
 * a test.
 */

export const IFF_TUN = 0x0001;
/** Ethernet frames. */
export const IFF_TAP = 0x0002;
/** Several descriptors, each one queue of the interface. */
export const IFF_MULTI_QUEUE = 0x0100;
/** The interface outlives its descriptors. Read only: `TUNSETPERSIST` sets it. */
export const IFF_PERSIST = 0x0800;
/** No 4-byte packet information before each frame; vhost's framing is corrupt without this flag. */
export const IFF_NO_PI = 0x1000;
/** A virtio-net header before each frame. */
export const IFF_VNET_HDR = 0x4000;
/** Fail with `EBUSY` when the interface exists. */
export const IFF_TUN_EXCL = 0x8000;

/** The longest interface name, its NUL included. `<linux/if.h>` `IFNAMSIZ`. */
export const IFNAMSIZ = 16;

/** `TUNSETOFFLOAD`: we accept frames whose checksum is not filled in. */
export const TUN_F_CSUM = 0x01;
export const TUN_F_TSO4 = 0x02;
export const TUN_F_TSO6 = 0x04;
export const TUN_F_TSO_ECN = 0x08;
/** Accepted and ignored since Linux 4.14. */
export const TUN_F_UFO = 0x10;
/** Linux 6.2; only together with `TUN_F_USO6`. */
export const TUN_F_USO4 = 0x20;
export const TUN_F_USO6 = 0x40;
/** Linux 6.17. */
export const TUN_F_UDP_TUNNEL_GSO = 0x080;
export const TUN_F_UDP_TUNNEL_GSO_CSUM = 0x100;

/** `TUNSETTXFILTER`: every frame to a group comes, whatever addresses were named. */
export const TUN_FLT_ALLMULTI = 0x0001;
