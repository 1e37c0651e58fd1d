/**
 * `<linux/virtio_ring.h>` and `<linux/virtio_config.h>`: names untouched. Numbers of bits, not masks:
 * see {@link bit}. Held against the headers by a test.
 */

/** The chain goes on with the descriptor in `next`. */
export const VRING_DESC_F_NEXT = 1;
/** The device writes this buffer; else it reads it. */
export const VRING_DESC_F_WRITE = 2;
/** The buffer is a table of descriptors. */
export const VRING_DESC_F_INDIRECT = 4;
/** Driver to device: no calls, please. Without `VIRTIO_RING_F_EVENT_IDX` only. */
export const VRING_AVAIL_F_NO_INTERRUPT = 1;
/** Device to driver: no kicks, please. Without `VIRTIO_RING_F_EVENT_IDX` only. */
export const VRING_USED_F_NO_NOTIFY = 1;

/** Calls even when they are suppressed, once the ring is empty. Legacy. */
export const VIRTIO_F_NOTIFY_ON_EMPTY = 24;
export const VIRTIO_F_ANY_LAYOUT = 27;
export const VIRTIO_RING_F_INDIRECT_DESC = 28;
export const VIRTIO_RING_F_EVENT_IDX = 29;
export const VIRTIO_F_VERSION_1 = 32;
/** Addresses go through an IOTLB. */
export const VIRTIO_F_ACCESS_PLATFORM = 33;
export const VIRTIO_F_RING_PACKED = 34;
export const VIRTIO_F_IN_ORDER = 35;
export const VIRTIO_F_RING_RESET = 40;

/** The mask of one feature bit. `1 << 32` is 1 in JavaScript, so sets of features are bigint. */
export const bit = (number: number): bigint => 1n << BigInt(number);

/** Whether a set of features has a bit. */
export const has = (features: bigint, number: number): boolean => (features & bit(number)) !== 0n;
