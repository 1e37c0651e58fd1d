// Runs sequences of ioctls on /dev/vhost-net as they stand in a file (see ioctl-sequences.ts) and
// prints what came of each: an errno, or 0 and the answer. The other side of differential.test.ts:
// no line of the package is in here.
//
//   differential FILE

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

// Of newer kernels than the headers.
#define GET_FEATURES_ARRAY _IOR(VHOST_VIRTIO, 0x83, uint64_t)
#define SET_FEATURES_ARRAY _IOW(VHOST_VIRTIO, 0x83, uint64_t)
#define SET_FORK_FROM_OWNER _IOW(VHOST_VIRTIO, 0x84, uint8_t)
#define GET_FORK_FROM_OWNER _IOR(VHOST_VIRTIO, 0x85, uint8_t)

static const size_t kMemoryBytes = 16 << 20;

static char* memory;
static int vhost = -1;
static struct {
  const char* name;
  int fd;
} files[5] = {{"none", -1}, {"event", -1}, {"null", -1}, {"tun", -1}, {"tap", -1}};

static void die(const char* what) {
  perror(what);
  exit(2);
}

static int open_or_die(const char* path) {
  const int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) die(path);
  return fd;
}

static int open_tap(void) {
  const int fd = open_or_die("/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
  if (ioctl(fd, TUNSETIFF, &request) < 0) die("TUNSETIFF");
  return fd;
}

static void open_files(void) {
  files[1].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  files[2].fd = open_or_die("/dev/null");
  files[3].fd = open_or_die("/dev/net/tun");
  files[4].fd = open_tap();
}

// The words of the line that is being worked on.
static const char* word(void) {
  const char* next = strtok(NULL, " \n");
  return next == NULL ? "" : next;
}

static uint64_t decimal(void) { return strtoull(word(), NULL, 10); }

static uint64_t hexadecimal(void) { return strtoull(word(), NULL, 16); }

static uint64_t place(void) {
  const char* text = word();
  const uint64_t offset = strtoull(text + 1, NULL, 10);
  return text[0] == 'k' ? (UINT64_C(1) << 63) + offset : (uint64_t)(uintptr_t)memory + offset;
}

static int file(void) {
  const char* name = word();
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    if (strcmp(files[i].name, name) == 0) return files[i].fd;
  }
  fprintf(stderr, "no file %s\n", name);
  exit(2);
}

static void answer(int result) { printf("%d\n", result < 0 ? errno : 0); }

static void answer_with(int result, uint64_t value) {
  if (result < 0) {
    answer(result);
  } else {
    printf("0 %llu\n", (unsigned long long)value);
  }
}

static void get_u64(unsigned long request) {
  uint64_t value = 0;
  const int result = ioctl(vhost, request, &value);
  answer_with(result, value);
}

static void set_u64(unsigned long request, uint64_t value) {
  answer(ioctl(vhost, request, &value));
}

static void get_array(void) {
  uint64_t words[3] = {2};
  const int result = ioctl(vhost, GET_FEATURES_ARRAY, words);
  if (result < 0) {
    answer(result);
  } else {
    printf("0 %llu %llu\n", (unsigned long long)words[1], (unsigned long long)words[2]);
  }
}

static void set_array(void) {
  uint64_t words[3] = {2};
  words[1] = hexadecimal();
  words[2] = hexadecimal();
  answer(ioctl(vhost, SET_FEATURES_ARRAY, words));
}

static void set_memory(void) {
  const uint64_t count = decimal();
  struct vhost_memory* table =
      calloc(1, sizeof *table + count * sizeof(struct vhost_memory_region));
  if (table == NULL) die("calloc");
  table->nregions = (uint32_t)count;
  for (uint64_t i = 0; i < count; i++) {
    table->regions[i].guest_phys_addr = hexadecimal();
    table->regions[i].memory_size = hexadecimal();
    table->regions[i].userspace_addr = place();
  }
  answer(ioctl(vhost, VHOST_SET_MEM_TABLE, table));
  free(table);
}

static void set_address(void) {
  struct vhost_vring_addr parts = {.index = (uint32_t)decimal()};
  parts.desc_user_addr = place();
  parts.used_user_addr = place();
  parts.avail_user_addr = place();
  parts.flags = (uint32_t)decimal();
  parts.log_guest_addr = hexadecimal();
  answer(ioctl(vhost, VHOST_SET_VRING_ADDR, &parts));
}

static void set_state(unsigned long request) {
  struct vhost_vring_state state = {.index = (uint32_t)decimal()};
  state.num = (uint32_t)decimal();
  answer(ioctl(vhost, request, &state));
}

static void get_state(unsigned long request) {
  struct vhost_vring_state state = {.index = (uint32_t)decimal()};
  const int result = ioctl(vhost, request, &state);
  answer_with(result, state.num);
}

static void set_file(unsigned long request) {
  struct vhost_vring_file argument = {.index = (uint32_t)decimal()};
  argument.fd = file();
  answer(ioctl(vhost, request, &argument));
}

static void set_log_fd(void) {
  int fd = file();
  answer(ioctl(vhost, VHOST_SET_LOG_FD, &fd));
}

static void reopen(void) {
  if (vhost >= 0) close(vhost);
  vhost = open_or_die("/dev/vhost-net");
  printf("#\n");
}

static void run(const char* what) {
#define IS(text) else if (strcmp(what, text) == 0)
  if (strcmp(what, "#") == 0) reopen();
  IS("owner") answer(ioctl(vhost, VHOST_SET_OWNER));
  IS("reset") answer(ioctl(vhost, VHOST_RESET_OWNER));
  IS("getfeatures") get_u64(VHOST_GET_FEATURES);
  IS("setfeatures") set_u64(VHOST_SET_FEATURES, hexadecimal());
  IS("getarray") get_array();
  IS("setarray") set_array();
  IS("getbackendfeatures") get_u64(VHOST_GET_BACKEND_FEATURES);
  IS("setbackendfeatures") set_u64(VHOST_SET_BACKEND_FEATURES, hexadecimal());
  IS("getfork") get_u64(GET_FORK_FROM_OWNER);
  IS("setfork") set_u64(SET_FORK_FROM_OWNER, decimal());
  IS("memory") set_memory();
  IS("logbase") set_u64(VHOST_SET_LOG_BASE, place());
  IS("logfd") set_log_fd();
  IS("num") set_state(VHOST_SET_VRING_NUM);
  IS("setbase") set_state(VHOST_SET_VRING_BASE);
  IS("getbase") get_state(VHOST_GET_VRING_BASE);
  IS("address") set_address();
  IS("kick") set_file(VHOST_SET_VRING_KICK);
  IS("call") set_file(VHOST_SET_VRING_CALL);
  IS("err") set_file(VHOST_SET_VRING_ERR);
  IS("setendian") set_state(VHOST_SET_VRING_ENDIAN);
  IS("getendian") get_state(VHOST_GET_VRING_ENDIAN);
  IS("setbusy") set_state(VHOST_SET_VRING_BUSYLOOP_TIMEOUT);
  IS("getbusy") get_state(VHOST_GET_VRING_BUSYLOOP_TIMEOUT);
  IS("backend") set_file(VHOST_NET_SET_BACKEND);
  else {
    fprintf(stderr, "unknown ioctl %s\n", what);
    exit(2);
  }
#undef IS
}

int main(int count, char** arguments) {
  FILE* input = count == 2 ? fopen(arguments[1], "r") : NULL;
  if (input == NULL) die("usage: differential FILE");
  memory = mmap(NULL, kMemoryBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  open_files();
  char* line = NULL;
  size_t room = 0;
  while (getline(&line, &room, input) > 0) run(strtok(line, " \n"));
  free(line);
  fclose(input);
  return 0;
}
