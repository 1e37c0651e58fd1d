import { parseMac } from '#lib/sys/link';

const MAC = '02:00:00:00:00:02';
const OTHER = '02:00:00:00:00:66';
const IPV4 = '10.9.0.2';
const IPV6 = 'fd00::2';

const bytes = (mac: string) => parseMac(mac) ?? new Uint8Array(6);
const dotted = (address: string) => address.split('.').map(Number);
/** Of the form `fd00::2`. */
const groups = (address: string) => {
  const [first = '', last = ''] = address.split('::');
  const b = Buffer.alloc(16);
  b.writeUInt16BE(parseInt(first || '0', 16), 0);
  b.writeUInt16BE(parseInt(last || '0', 16), 14);
  return [...b];
};

const BROADCAST = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
const TYPE = 0x88b5;

/** A frame to everybody, of 60 bytes or more. */
function ethernet(source: string, type: number, payload: readonly number[]): Buffer {
  const frame = Buffer.alloc(Math.max(60, 14 + payload.length));
  frame.set([...BROADCAST, ...bytes(source), type >> 8, type & 0xff, ...payload]);
  return frame;
}

/** An ARP question of 28 bytes. RFC 826. */
function arp(source: string, hardware: string, sender: string, target: string): Buffer {
  const head = [0, 1, 8, 0, 6, 4, 0, 1];
  const who = [...bytes(hardware), ...dotted(sender), 0, 0, 0, 0, 0, 0, ...dotted(target)];
  return ethernet(source, 0x0806, [...head, ...who]);
}

/** A datagram of UDP without a checksum. */
function udp(source: string, sender: string, target: string): Buffer {
  const ip = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, ...dotted(sender), ...dotted(target)];
  return ethernet(source, 0x0800, [...ip, 0, 9, 0, 9, 0, 8, 0, 0]);
}

/** A neighbour advertisement with its option. RFC 4861, section 4.4. */
function advertisement(source: string, sender: string, target: string, link: string): Buffer {
  const ip = [0x60, 0, 0, 0, 0, 32, 58, 255, ...groups(sender), ...groups('ff02::1')];
  const icmp = [136, 0, 0, 0, 0x20, 0, 0, 0, ...groups(target), 2, 1, ...bytes(link)];
  return ethernet(source, 0x86dd, [...ip, ...icmp]);
}

/** The first fragment of something over IPv6, 24 bytes of it. RFC 8200, section 4.5. */
function fragment(protocol: number, identification: number, payload: readonly number[]): Buffer {
  const ip = [0x60, 0, 0, 0, 0, 32, 44, 255, ...groups(IPV6), ...groups('ff02::1')];
  const head = [protocol, 0, 0, 1, 0, 0, identification >> 8, identification & 0xff];
  const part = Array.from({ length: 24 }, (_, i) => payload[i] ?? 0);
  return ethernet(MAC, 0x86dd, [...ip, ...head, ...part]);
}

/** One frame, and whether a port with the address of {@link spoofs} may send it. */
export interface Spoof {
  readonly title: string;
  readonly frame: Buffer;
  /** What `tcpdump -e -vv` prints of it and of no other. */
  readonly mark: string;
  readonly passes: boolean;
}

const tagged = ethernet(MAC, 0x8100, [0, 5, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);

/** Frames of one who is what he says, and of one who is not. */
export const spoofs = {
  mac: MAC,
  ipv4: IPV4,
  ipv6: IPV6,
  frames: [
    {
      title: 'its own',
      frame: ethernet(MAC, TYPE, [1]),
      mark: `${MAC} > ff:ff:ff:ff:ff:ff, ethertype Unknown (0x88b5)`,
      passes: true,
    },
    {
      title: "another's Ethernet address",
      frame: ethernet(OTHER, TYPE, [2]),
      mark: `${OTHER} > ff:ff:ff:ff:ff:ff, ethertype Unknown (0x88b5)`,
      passes: false,
    },
    { title: 'a VLAN tag', frame: tagged, mark: 'ethertype 802.1Q', passes: false },
    {
      title: 'ARP of its own',
      frame: arp(MAC, MAC, IPV4, '10.9.0.101'),
      mark: 'who-has 10.9.0.101',
      passes: true,
    },
    {
      title: 'ARP probe',
      frame: arp(MAC, MAC, '0.0.0.0', '10.9.0.102'),
      mark: 'who-has 10.9.0.102',
      passes: true,
    },
    {
      title: "ARP with another's IP address",
      frame: arp(MAC, MAC, '10.9.0.1', '10.9.0.103'),
      mark: 'who-has 10.9.0.103',
      passes: false,
    },
    {
      title: "ARP with another's Ethernet address inside",
      frame: arp(MAC, OTHER, IPV4, '10.9.0.104'),
      mark: 'who-has 10.9.0.104',
      passes: false,
    },
    {
      title: "ARP from another's Ethernet address",
      frame: arp(OTHER, MAC, IPV4, '10.9.0.105'),
      mark: 'who-has 10.9.0.105',
      passes: false,
    },
    {
      title: 'IPv4 of its own',
      frame: udp(MAC, IPV4, '10.9.0.106'),
      mark: '> 10.9.0.106.9',
      passes: true,
    },
    {
      title: "IPv4 from another's",
      frame: udp(MAC, '10.9.0.7', '10.9.0.107'),
      mark: '> 10.9.0.107.9',
      passes: false,
    },
    {
      title: 'its own neighbour advertisement',
      frame: advertisement(MAC, IPV6, IPV6, MAC),
      mark: `tgt is ${IPV6}`,
      passes: true,
    },
    {
      title: "a neighbour advertisement for another's",
      frame: advertisement(MAC, IPV6, 'fd00::1', MAC),
      mark: 'tgt is fd00::1',
      passes: false,
    },
    {
      title: "a neighbour advertisement to another's",
      frame: advertisement(MAC, IPV6, IPV6, OTHER),
      mark: `destination link-address option (2), length 8 (1): ${OTHER}`,
      passes: false,
    },
    {
      title: 'a router advertisement in fragments',
      frame: fragment(58, 0x6601, [134]),
      mark: 'frag (0x00006601:0|24)',
      passes: false,
    },
    {
      title: 'its own UDP in fragments',
      frame: fragment(17, 0x6602, [0, 9, 0, 9, 0, 99]),
      mark: 'frag (0x00006602:0|24)',
      passes: true,
    },
  ] as readonly Spoof[],
  /** Asks who has an address, in order to be answered. */
  question: (address: string) => arp(MAC, MAC, IPV4, address),
};
