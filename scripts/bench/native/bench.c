#include "bench.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

_Noreturn void die(const char* what) {
  perror(what);
  exit(1);
}

int check(int result, const char* what) {
  if (result < 0) die(what);
  return result;
}

/// A macvtap has a device of its own, called after its index: whoever made it chose one that is
/// nobody else's.
static int open_device(const char* name, bool is_macvtap) {
  char node[32] = "/dev/net/tun";
  if (is_macvtap) snprintf(node, sizeof node, "/dev/tap%u", if_nametoindex(name));
  return check(open(node, O_RDWR | O_CLOEXEC), node);
}

int open_tap(const char* backend, bool vnet_hdr) {
  static const char kMacvtap[] = "macvtap:";
  const bool is_macvtap = strncmp(backend, kMacvtap, strlen(kMacvtap)) == 0;
  const char* name = is_macvtap ? backend + strlen(kMacvtap) : backend;
  int tap = open_device(name, is_macvtap);
  struct ifreq request = {0};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | (vnet_hdr ? IFF_VNET_HDR : 0);
  check(ioctl(tap, TUNSETIFF, &request), "TUNSETIFF");
  return tap;
}

static void put16(uint8_t* at, uint16_t value) {
  at[0] = value >> 8;
  at[1] = value & 0xff;
}

static uint16_t header_checksum(const uint8_t* header) {
  uint32_t sum = 0;
  for (int i = 0; i < 20; i += 2) sum += (uint32_t)header[i] << 8 | header[i + 1];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

static void fill_ip_frame(uint8_t* frame, size_t length, uint8_t protocol) {
  static const uint8_t head[] = {2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 8, 0};
  memset(frame, 0, length);
  memcpy(frame, head, sizeof head);
  uint8_t* ip = frame + sizeof head;
  ip[0] = 0x45;
  ip[8] = 64;
  ip[9] = protocol;
  put16(ip + 2, length - sizeof head);
  const uint32_t from = htonl(0xc6120001), to = htonl(0xc6120002);  // 198.18.0.1 and .2
  memcpy(ip + 12, &from, 4);
  memcpy(ip + 16, &to, 4);
  put16(ip + 10, header_checksum(ip));
  put16(ip + 20, 9);
  put16(ip + 22, 9);
}

void fill_frame(uint8_t* frame, size_t length) {
  fill_ip_frame(frame, length, IPPROTO_UDP);
  put16(frame + 38, length - 34);
}

void fill_gso_frame(uint8_t* frame, size_t length) {
  fill_ip_frame(frame, length, IPPROTO_TCP);
  frame[46] = 5 << 4;  // its header's length, in words of 32 bits
}

void fill_gso_header(uint8_t* header) {
  const struct virtio_net_hdr gso = {
      .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
      .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
      .hdr_len = 54,
      .gso_size = 1448,
      .csum_start = 34,
      .csum_offset = 16,
  };
  memcpy(header, &gso, sizeof gso);
}

static void swap(uint8_t* a, uint8_t* b, size_t length) {
  uint8_t kept[6];
  memcpy(kept, a, length);
  memcpy(a, b, length);
  memcpy(b, kept, length);
}

bool make_echo_reply(uint8_t* frame, size_t length) {
  const bool is_request = length >= 42 && frame[12] == 8 && frame[13] == 0 && frame[14] == 0x45 &&
                          frame[23] == 1 && frame[34] == 8;
  if (!is_request) return false;
  swap(frame, frame + 6, 6);
  swap(frame + 26, frame + 30, 4);
  frame[34] = 0;
  // The type went from 8 to 0, so the one's complement sum of the rest grows by 0x0800.
  const uint32_t sum = (frame[36] << 8 | frame[37]) + 0x0800;
  put16(frame + 36, (sum & 0xffff) + (sum >> 16));
  return true;
}

void ready(void) {
  printf("ready\n");
  fflush(stdout);
}
