import { spawnSync } from 'node:child_process';

import { codeOf, reason } from './check.js';
import type { Finding } from './check.js';
import { nodeFailure } from './node.js';
import { callingProcess, fullPidsGroup, limit } from './proc.js';
import { vhostParameters } from '../sys/module-parameters.js';
import type { VhostParameters } from '../sys/module-parameters.js';
import { VhostNet } from '../sys/vhost-net.js';
import { featureBits } from '../uapi/features.js';
import type { FeatureBit } from '../uapi/features.js';
import { VIRTIO_NET_F_MRG_RXBUF } from '../uapi/virtio-net.js';
import { VIRTIO_F_VERSION_1 } from '../uapi/virtio.js';

/** What this kernel's vhost-net can do. */
export interface VhostCapabilities {
  /** Every feature bit that it offers. */
  readonly features: readonly FeatureBit[];
  /** Whether it has features of more than 64 bits (`VHOST_GET_FEATURES_ARRAY`). */
  readonly featuresArray: boolean;
  /** Whether the kind of its worker can be chosen (`VHOST_SET_FORK_FROM_OWNER`). */
  readonly forkFromOwner: boolean;
  /** `VHOST_GET_BACKEND_FEATURES`. */
  readonly backendFeatures: bigint;
  /** What its worker is: see {@link WorkerThread}. Undefined when it can't be known. */
  readonly worker: 'task' | 'kthread' | undefined;
  /** Parameters of its modules. */
  readonly parameters: VhostParameters;
}

/** What was found of vhost-net. */
export interface VhostFindings {
  readonly node: Finding;
  readonly worker?: Finding;
  readonly features?: Finding;
  readonly capabilities?: VhostCapabilities;
}

const NODE = { path: VhostNet.PATH, module: 'vhost_net', misc: 'vhost-net', everybody: false };

/** Opens the device and becomes its owner for a moment. */
export function probeVhost(): VhostFindings {
  let vhost: VhostNet;
  try {
    vhost = new VhostNet();
  } catch (error) {
    return { node: nodeFailure(NODE, error) };
  }
  try {
    return probeOpen(vhost);
  } catch (error) {
    return { node: { ok: false, detail: `no vhost-net behind it: ${reason(error)}` } };
  } finally {
    vhost.close();
  }
}

function probeOpen(vhost: VhostNet): VhostFindings {
  const featuresArray = attempt(() => vhost.getFeaturesArray());
  const features = featureBits(featuresArray ?? vhost.getFeatures());
  const forkFromOwner = attempt(() => vhost.getForkFromOwner()) !== undefined;
  const worker = probeWorker(vhost);
  return {
    node: { ok: true, detail: 'opened to read and write' },
    worker,
    features: judge(features),
    capabilities: {
      features,
      featuresArray: featuresArray !== undefined,
      forkFromOwner,
      backendFeatures: vhost.getBackendFeatures(),
      worker: vhost.worker?.kind,
      parameters: vhostParameters(),
    },
  };
}

/** Undefined where this kernel can't. */
function attempt<T>(call: () => T): T | undefined {
  try {
    return call();
  } catch (error) {
    if (codeOf(error) === 'ERR_VHOST_UNSUPPORTED') return undefined;
    throw error;
  }
}

function judge(features: readonly FeatureBit[]): Finding {
  const missing = [VIRTIO_F_VERSION_1, VIRTIO_NET_F_MRG_RXBUF].filter((bit) =>
    features.every((feature) => feature.bit !== bit),
  );
  const names = featureBits(missing.reduce((set, bit) => set | (1n << BigInt(bit)), 0n));
  const detail =
    missing.length === 0
      ? `${String(features.length)} bits`
      : `lacks ${names.map(({ name }) => name).join(' and ')}: a newer kernel has them`;
  return { ok: missing.length === 0, detail };
}

function probeWorker(vhost: VhostNet): Finding {
  try {
    vhost.setOwner();
  } catch (error) {
    return workerFailure(error);
  }
  const { worker } = vhost;
  const detail = worker
    ? `${worker.name}, a ${worker.kind === 'task' ? 'thread of this process' : 'kernel thread'}`
    : 'made; which thread it is can not be known here';
  return { ok: true, detail };
}

/** @internal The kernel says ENOMEM for every limit of processes: which one it was is looked for. */
export function workerFailure(error: unknown): Finding {
  const detail = reason(error);
  const group = fullPidsGroup();
  if (group) {
    return {
      ok: false,
      detail: `${detail}: ${group.folder} is full with ${String(group.most)}`,
      remedy: `echo max > ${group.folder}/pids.max`,
    };
  }
  const processes = limit('Max processes');
  if (processes === undefined || codeOf(error) !== 'ENOMEM' || mayStartAnother()) {
    return { ok: false, detail };
  }
  return {
    ok: false,
    detail: `${detail}: RLIMIT_NPROC is ${String(processes)}`,
    remedy: `prlimit --nproc=unlimited --pid ${String(callingProcess())}`,
  };
}

/** Whether it is not this user's processes that are too many: how many there are is not to be seen everywhere. */
function mayStartAnother(): boolean {
  const { error } = spawnSync('true');
  return (error as NodeJS.ErrnoException | undefined)?.code !== 'EAGAIN';
}
