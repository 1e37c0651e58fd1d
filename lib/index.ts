/**
 * Linux's vhost-net from Node: virtqueues in mmap'd memory, and the kernel's own worker behind them.
 *
 * @packageDocumentation
 */
export { openPort, Port } from './port/port.js';
export type { PortEvents } from './port/events.js';
export type { RepairReport } from './port/recovery.js';
export type { FaultCause, FaultyRing } from './dataplane/repair.js';
export type { PortOptions } from './port/options.js';
export { PortQueue } from './port/port-queue.js';
export type { Offloads } from './port/offload.js';
export type { Frame } from './port/frame.js';
export type { FrameCopy } from './port/frame-copies.js';
export type { ReceiveBatch } from './port/receive.js';
export type { Reservation } from './port/reservations.js';
export type { PackedFrames } from './port/transmit-bulk.js';
export type { FrameRun, WriteRun } from './port/transmit.js';
export type { PortMessage, PortState } from './port/observation.js';
export type {
  PortStatistics,
  QueueStatistics,
  ReceiveStatistics,
  RingCounters,
  TransmitStatistics,
} from './port/statistics.js';

export { Tap } from './backend/tap.js';
export type { BpfInstruction, SteeringOptions, TapOptions } from './backend/tap-options.js';
export { OvsPort } from './backend/ovs.js';
export type { AntiSpoofOptions, OvsOptions, OvsTapOptions } from './backend/ovs-options.js';
export type { OvsMessage } from './backend/ovs-tools.js';
export type { OvsPortState } from './backend/ovs-vsctl.js';
export { Macvtap } from './backend/macvtap.js';
export type { MacvtapMode, MacvtapOptions } from './backend/macvtap-options.js';
export { Packet } from './backend/packet.js';
export type { PacketOptions } from './backend/packet-options.js';
export type { DescriptorOptions } from './backend/adopt.js';
export { openBackend } from './backend/open.js';
export type { BackendOptions } from './backend/open.js';
export type { LinkOptions } from './backend/link-options.js';
export type {
  Backend,
  BackendAgreement,
  BackendLink,
  BackendQueue,
  LinkListener,
  LinkProperty,
  ReceiveFilter,
} from './backend/backend.js';

export { Cable } from './switch/cable.js';
export { LearningSwitch } from './switch/learning-switch.js';
export type { FabricCounters, FabricPort, FabricQueue } from './switch/fabric.js';
export type { MacTableOptions } from './switch/mac-table.js';

export { Machine } from './vmm/machine.js';
export type { MachineEvents } from './vmm/machine-events.js';
export type { MachineEnd, MachineEndReason } from './vmm/machine-end.js';
export type { MachineConsole, MachineNet, MachineOptions } from './vmm/options.js';
export type { GuestFault } from './vmm/guest-repair.js';
export type { MachineStatistics } from './vmm/machine-statistics.js';
export type { LoopStatistics } from './sys/loop-budget.js';
export type { MachineMessage } from './vmm/machine-observation.js';
export type { NetworkCard, NetworkCardStatistics } from './vmm/network-card.js';
export type { ControlQueueStatistics } from './vmm/control-queue.js';
export type { MsixStatistics } from './vmm/msix.js';
export type { PciBusStatistics } from './vmm/pci-bus.js';
export type { VirtioNetStatistics } from './vmm/virtio-net-device.js';
export type { VirtioPciStatistics } from './vmm/virtio-pci.js';
export type { Fault } from './dataplane/repair.js';

export { VhostNet } from './sys/vhost-net.js';
export type {
  BackendDescriptor,
  DirtyLog,
  MemoryTableRow,
  VringAddresses,
  VringEndian,
} from './sys/vhost-net.js';
export { vhostParameters } from './sys/module-parameters.js';
export type { VhostParameters } from './sys/module-parameters.js';
export { EventFd } from './sys/eventfd.js';
export { Pages } from './sys/pages.js';
export type { PagesOptions } from './sys/pages.js';
export type { WorkerScheduling, WorkerThread } from './sys/worker-thread.js';

export { GuestMemory } from './memory/guest-memory.js';
export type { MemoryRegion, Pin, Translation } from './memory/guest-memory.js';
export { AvailSide } from './ring/avail-side.js';
export { DriverQueue } from './ring/driver-queue.js';
export type { DriverQueueOptions } from './ring/avail-side.js';
export type { IndirectArea, Segment } from './ring/descriptor-table.js';
export { splitLayout } from './ring/split-layout.js';
export type { SplitLayout } from './ring/split-layout.js';
export type { NetHeader } from './ring/net-header.js';
export {
  VIRTIO_NET_HDR_F_DATA_VALID,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_NONE,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP_L4,
  VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4,
  VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6,
} from './uapi/virtio-net.js';

export { capabilities } from './capabilities/capabilities.js';
export type { Capabilities } from './capabilities/capabilities.js';
export type { Check } from './capabilities/check.js';
export type { TapCapabilities } from './capabilities/tap.js';
export type { VhostCapabilities } from './capabilities/vhost.js';
export type { FeatureBit } from './uapi/features.js';

export type { IoctlArguments, IoctlMessage } from './observe.js';
export type { NativeDescriptor, NativeLinkCounters } from './native.js';
export { OvsError, VhostError, VhostSystemError } from './errors.js';
export type { OvsErrorCode, VhostErrorCode } from './errors.js';
