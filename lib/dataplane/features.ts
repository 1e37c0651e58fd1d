import { VhostError } from '../errors.js';
import { VHOST_NET_F_VIRTIO_NET_HDR } from '../uapi/vhost.js';
import {
  VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO,
  VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM,
  VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO,
  VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM,
  VIRTIO_NET_F_MRG_RXBUF,
} from '../uapi/virtio-net.js';
import { VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_VERSION_1, bit, has } from '../uapi/virtio.js';

/** What two sides can do, and what a driver wants of it. */
export interface FeatureOffer {
  /** `VHOST_GET_FEATURES`, or `VHOST_GET_FEATURES_ARRAY`. */
  readonly vhost: bigint;
  /** What the backend serves. */
  readonly backend: bigint;
  /** What the driver can use. */
  readonly wanted: bigint;
  /** Of these, what it can't do without, by bit number and name. */
  readonly required: readonly (readonly [number: number, name: string])[];
}

/**
 * Bits that mean something else to vhost than to a driver, or that nobody serves here: bit 27 moves the
 * header from the backend to vhost, and is nothing that a driver can ask for; bit 33 would make vhost ask for every address.
 */
const NEVER = bit(VHOST_NET_F_VIRTIO_NET_HDR) | bit(VIRTIO_F_ACCESS_PLATFORM);

/** Of these vhost has to know how long the header is, and the backend what is in it. */
const OF_BOTH = bit(VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO) | bit(VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO);

/** What the backend alone serves, and only with another: Virtio 1.4 "Feature bit requirements". */
const NEEDS: readonly (readonly [feature: number, other: number])[] = [
  [VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM, VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO],
  [VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM, VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO],
];

/**
 * What driver and device agree on: each bit is offered by whoever serves it, vhost or the backend;
 * one AND over everything would lose every offload, which vhost knows nothing about. Only long frames
 * inside a UDP tunnel need both: their header is longer.
 *
 * @throws {VhostError} `ERR_VHOST_FEATURE_MISSING`: a required bit is offered by neither.
 */
export function negotiate(offer: FeatureOffer): bigint {
  const offered = (offer.vhost | offer.backend) & ~(OF_BOTH & ~(offer.vhost & offer.backend));
  const negotiated = withoutOrphans(offered & offer.wanted & ~NEVER);
  for (const [number, name] of offer.required) {
    if (!has(negotiated, number)) {
      throw new VhostError('ERR_VHOST_FEATURE_MISSING', `this kernel's vhost-net lacks ${name}`);
    }
  }
  return negotiated;
}

function withoutOrphans(features: bigint): bigint {
  return NEEDS.reduce(
    (set, [feature, other]) => (has(set, other) ? set : set & ~bit(feature)),
    features,
  );
}

/**
 * The part of an agreement that vhost is told: it refuses bits that are not its own.
 *
 * @param headerless  The backend has no header before its frames: vhost is to make and strip it.
 */
export function vhostPart(negotiated: bigint, vhost: bigint, headerless = false): bigint {
  const part = negotiated & vhost & ~NEVER;
  return headerless ? part | bit(VHOST_NET_F_VIRTIO_NET_HDR) : part;
}

/**
 * Bytes of the header before each frame. Virtio 1.3 §5.1.6 "Device Operation";
 * `drivers/vhost/net.c` `vhost_net_set_features`.
 */
export function headerSize(negotiated: bigint): number {
  if ((negotiated & OF_BOTH) !== 0n) return 24;
  const long = has(negotiated, VIRTIO_F_VERSION_1) || has(negotiated, VIRTIO_NET_F_MRG_RXBUF);
  return long ? 12 : 10;
}
