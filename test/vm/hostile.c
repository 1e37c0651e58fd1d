// A guest without an operating system that means it no good: so many accesses of ports and memory, all of
// them at random, and now and then what a driver does, so that rings run which nobody can serve. Then it says
// what it has done on the serial line, and leaves 42 at the exit port.
//
// The command line has its seed, its number of accesses, how many cards there are, and how many processors,
// each of which does its share at the same time: "seed=1 count=1000 cards=1 cpus=1". With "end=1" it does not
// leave but resets the machine, with "end=2" by a triple fault. It begins where Linux would: 64-bit, memory
// below 4 GiB mapped as it is, the zero page in rsi.
//
// What would only end it is left out: the exit port and address, the reset, writes to the local APIC, and
// interrupt messages of the kinds INIT and SMI; and KVM's timer, which it would have tick 5,000 times a second:
// where KVM runs in an emulation the processor has time for nothing else then. Descriptors and rings name its
// own scratch memory, or none.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define COMMAND_LINE 0x228
#define RAM_END 0x2000000UL
#define SCRATCH 0x1000000UL
#define SCRATCH_BYTES 0x800000UL
#define HOLE 0xc0000000UL
#define HOLE_END 0xfe000000UL

#define ISR 0x1000
#define NOTIFY 0x3000
#define MSIX 0x4000
/// The control word of the first capability, and its bits.
#define MSIX_CONTROL 0x42
#define MSIX_ENABLE 0x8000
#define MSIX_MASK_ALL 0x4000

enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, NEEDS_RESET = 0x40 };
enum { DEVICE_SELECT = 0, DEVICE_FEATURES = 4, DRIVER_SELECT = 8, DRIVER_FEATURES = 12, STATUS = 20,
       Q_SELECT = 22, Q_SIZE = 24, Q_VECTOR = 26, Q_ENABLE = 28, Q_DESC = 32, Q_RESET = 58 };

#define MOST_CPUS 4
/// A page below 1 MiB that the loader uses for nothing; and its global descriptors and page tables.
#define TRAMPOLINE 0x8000
#define APIC 0xfee00000UL

/// What each processor counts for itself: the one that runs this finds its own in r15.
static struct cpu { u64 state, done, starts, given_up, refused; volatile u64 finished; } cpus[MOST_CPUS];
register struct cpu* me __asm__("r15");
static u8 stacks[MOST_CPUS][0x4000] __attribute__((aligned(16), used));
static struct { u64 low, high; } idt[256];

__asm__(".globl _start\n"
        "_start: lea stacks+0x4000(%rip), %rsp\n"
        "  lea cpus(%rip), %r15\n"
        "  mov %rsi, %rdi\n"
        "  call begin\n"
        "1: hlt\n"
        "  jmp 1b\n"
        // Where the other processors begin: from real mode straight to 64 bits.
        ".code16\n"
        "trampoline: cli\n"
        "  xor %ax, %ax\n"
        "  mov %ax, %ds\n"
        "  lgdtl 0x8000 + gdt_register - trampoline\n"
        "  mov $0x20, %eax\n"
        "  mov %eax, %cr4\n"
        "  mov $0x9000, %eax\n"
        "  mov %eax, %cr3\n"
        "  mov $0xc0000080, %ecx\n"
        "  rdmsr\n"
        "  or $0x100, %eax\n"
        "  wrmsr\n"
        "  mov $0x80000011, %eax\n"
        "  mov %eax, %cr0\n"
        "  ljmpl $0x10, $other\n"
        "gdt_register: .word 39\n"
        "  .long 0x500\n"
        "trampoline_end:\n"
        ".code64\n"
        "other: mov $0x18, %eax\n"
        "  mov %eax, %ds\n"
        "  mov %eax, %es\n"
        "  mov %eax, %ss\n"
        "  mov $1, %edi\n"
        "  lock xadd %rdi, present(%rip)\n"
        "  imul $0x4000, %rdi, %rax\n"
        "  lea stacks+0x4000(%rip), %rsp\n"
        "  add %rax, %rsp\n"
        "  call begin_other\n"
        "1: hlt\n"
        "  jmp 1b\n"
        // Interrupts are off, but nobody can switch off those that an interrupt message asks for as NMI.
        "ignore: iretq\n");
void ignore(void);
extern const u8 trampoline[], trampoline_end[];
/// Processors that have begun.
__attribute__((used)) static volatile u64 present = 1;
/// For all of them.
static u64 seed, share, cards;

static u64 next(void) {
  me->state ^= me->state << 13;
  me->state ^= me->state >> 7;
  me->state ^= me->state << 17;
  return me->state * 0x2545f4914f6cdd1dUL;
}

static u64 below(u64 limit) { return (next() >> 16) % limit; }

#define PICK(list) (list)[below(sizeof(list) / sizeof *(list))]

/// Mostly what somebody might mean something by.
static u32 value(void) {
  static const u32 known[] = {0, 1, 2, 3, 4, 7, 8, 0xb, 0xf, 0x10, 0x40, 0x80, 0xff, 0x100, 0x406, 0x8000,
                              0xc000, 0xffff, 0xc0000000, 0xc0008000, 0xfee00000, 0xffffffff};
  return below(4) == 0 ? (u32)next() : PICK(known);
}

static u32 in(u16 port, u32 size) {
  u32 got = 0;
  me->done++;
  if (size == 1) __asm__ volatile("inb %%dx, %%al" : "+a"(got) : "d"(port));
  else if (size == 2) __asm__ volatile("inw %%dx, %%ax" : "+a"(got) : "d"(port));
  else __asm__ volatile("inl %%dx, %%eax" : "=a"(got) : "d"(port));
  return got;
}

static void out(u16 port, u32 size, u32 what) {
  me->done++;
  if (size == 1) __asm__ volatile("outb %%al, %%dx" : : "a"(what), "d"(port));
  else if (size == 2) __asm__ volatile("outw %%ax, %%dx" : : "a"(what), "d"(port));
  else __asm__ volatile("outl %%eax, %%dx" : : "a"(what), "d"(port));
}

static u64 load(u64 address, u32 size) {
  me->done++;
  u64 got = 0;
  if (size == 1) __asm__ volatile("movb (%1), %b0" : "+q"(got) : "r"(address) : "memory");
  else if (size == 2) __asm__ volatile("movw (%1), %w0" : "+r"(got) : "r"(address) : "memory");
  else if (size == 4) __asm__ volatile("movl (%1), %k0" : "+r"(got) : "r"(address) : "memory");
  else __asm__ volatile("movq (%1), %0" : "+r"(got) : "r"(address) : "memory");
  return got;
}

static void store(u64 address, u32 size, u64 what) {
  me->done++;
  if (size == 1) __asm__ volatile("movb %b0, (%1)" : : "q"(what), "r"(address) : "memory");
  else if (size == 2) __asm__ volatile("movw %w0, (%1)" : : "r"(what), "r"(address) : "memory");
  else if (size == 4) __asm__ volatile("movl %k0, (%1)" : : "r"(what), "r"(address) : "memory");
  else __asm__ volatile("movq %0, (%1)" : : "r"(what), "r"(address) : "memory");
}

static u32 size_of_port_access(void) { return 1u << below(3); }
static u32 size_of_memory_access(void) { return 1u << below(4); }

static u32 config(u32 slot, u32 at, u32 size) {
  out(0xcf8, 4, 0x80000000 | slot << 11 | (at & 0xfc));
  return in(0xcfc + (at & 3), size);
}

static void set_config(u32 slot, u32 at, u32 size, u32 what) {
  out(0xcf8, 4, 0x80000000 | slot << 11 | (at & 0xfc));
  out(0xcfc + (at & 3), size, what);
}

/// Where the card of a slot answers now. Where that is among the interrupt controllers it is moved back.
static u64 bar_of(u32 slot) {
  const u64 now = config(slot, 0x10, 4) & ~0xfUL;
  if (now >= HOLE && now < HOLE_END && (config(slot, 4, 2) & 2) != 0) return now;
  set_config(slot, 0x10, 4, HOLE + (slot - 1) * 0x8000);
  set_config(slot, 4, 2, 6);
  return HOLE + (slot - 1) * 0x8000;
}

/// No INIT and no SMI: these would be the end of this program, and of nothing else.
static u32 message(void) {
  static const u32 kinds[] = {0, 1, 3, 4, 7};
  return (value() & ~0x700u) | PICK(kinds) << 8;
}

/// In scratch memory, across its end or that of all memory, or nowhere.
static u64 ring_address(u64 alignment) {
  static const u64 edges[] = {RAM_END - 16, RAM_END - 4096, RAM_END, HOLE, 0xfffffffffffff000, 1UL << 32,
                              (1UL << 52) + 64, 1UL << 63, RAM_END - 2};
  if (below(6) == 0) return PICK(edges);
  return (SCRATCH + below(SCRATCH_BYTES)) & ~(alignment - 1);
}

/// Descriptors, indices and entries of rings, wherever these lie.
static void scribble(void) {
  for (u64 n = below(64); n > 0; n--) {
    volatile u64* words = (volatile u64*)(SCRATCH + (below(0x60000) & ~15UL));
    words[0] = below(3) == 0 ? next() | 0x4000000000000000UL : ring_address(1);
    words[1] = below(0x11000) | (below(8) << 32) | (below(300) << 48);
    if (below(3) == 0) words[0] = words[1] = value() % 300;
  }
}

/// Small rings at the beginning of scratch memory, so that what is scribbled there is met by somebody.
static void set_up_queue(u64 common, u32 queue) {
  const u64 own = SCRATCH + queue * 0x10000;
  const int honest = below(4) != 0;
  store(common + Q_SELECT, 2, queue);
  store(common + Q_SIZE, 2, honest ? 64 : value());
  const u64 parts[] = {honest ? own : ring_address(16), honest ? own + 0x1000 : ring_address(2),
                       honest ? own + 0x2000 : ring_address(4)};
  for (u32 part = 0; part < 3; part++) {
    store(common + Q_DESC + 8 * part, 4, parts[part]);
    store(common + Q_DESC + 8 * part + 4, 4, parts[part] >> 32);
  }
  store(common + Q_VECTOR, 2, below(6));
  store(common + Q_ENABLE, 2, 1);
}

/// A chain of two or three descriptors, as a driver of network cards has it, or nearly.
static void offer(u32 queue) {
  volatile u64* table = (volatile u64*)(SCRATCH + queue * 0x10000);
  volatile u16* avail = (volatile u16*)((u64)table + 0x1000);
  const u16 head = below(62), index = avail[1];
  const u64 writable = queue == 0 ? 2 : 0;
  table[2 * head] = SCRATCH + 0x100000 + head * 0x1000;
  table[2 * head + 1] = (60 + below(1500)) | writable << 32 | (below(3) == 0 ? (1UL | 2) << 32 : 0) |
                        (u64)(head + 1) << 48;
  table[2 * head + 2] = below(8) == 0 ? ring_address(1) : SCRATCH + 0x200000;
  table[2 * head + 3] = (1 + below(64)) | (2UL << 32);
  if (queue == 2) {
    u8* command = (u8*)(SCRATCH + 0x100000 + head * 0x1000);
    command[0] = below(6);
    command[1] = below(3);
    for (u32 i = 2; i < 12; i++) command[i] = below(3);
    table[2 * head + 1] = 12 | 1UL << 32 | (u64)(head + 1) << 48;
  }
  avail[2 + index % 64] = head;
  __asm__ volatile("" : : : "memory");
  avail[1] = index + 1;
}

static void kick(u64 bar) { store(bar + NOTIFY + 4 * below(4), 1u << below(3), value()); }

/// What a driver does until its device works; with queues that may lie anywhere.
static void drive(u32 slot) {
  const u64 bar = bar_of(slot);
  set_config(slot, 4, 2, 6);
  store(bar + STATUS, 1, 0);
  store(bar + STATUS, 1, ACKNOWLEDGE);
  store(bar + STATUS, 1, ACKNOWLEDGE | DRIVER);
  for (u32 half = 0; half < 2; half++) {
    store(bar + DEVICE_SELECT, 4, half);
    u32 offered = load(bar + DEVICE_FEATURES, 4);
    if (half == 0 && below(3) != 0) offered &= below(2) == 0 ? 0x20000 : 0x20020000;
    store(bar + DRIVER_SELECT, 4, half);
    store(bar + DRIVER_FEATURES, 4, offered);
  }
  store(bar + STATUS, 1, ACKNOWLEDGE | DRIVER | FEATURES_OK);
  for (u32 vector = 0; vector < 4; vector++) {
    store(bar + MSIX + 16 * vector, 4, 0xfee00000);
    store(bar + MSIX + 16 * vector + 8, 4, message());
    store(bar + MSIX + 16 * vector + 12, 4, 0);
  }
  set_config(slot, MSIX_CONTROL, 2, below(4) == 0 ? MSIX_ENABLE | MSIX_MASK_ALL : MSIX_ENABLE);
  volatile u64* rings = (volatile u64*)SCRATCH;
  for (u64 i = 0; i < 3 * 0x10000 / 8; i++) rings[i] = 0;
  for (u32 queue = 0; queue < 3; queue++) set_up_queue(bar, queue);
  store(bar + STATUS, 1, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
  const u32 status = load(bar + STATUS, 1);
  if ((status & NEEDS_RESET) != 0) me->refused++;
  else if ((status & DRIVER_OK) != 0) me->starts++;
  for (u32 i = 0; i < 32; i++) offer(below(3));
  for (u32 queue = 0; queue < 3; queue++) store(bar + NOTIFY + 4 * queue, 2, queue);
}

static void access_bar(u32 slot) {
  const u64 bar = bar_of(slot);
  const u32 size = size_of_memory_access();
  u64 at = below(0x40);
  if (below(4) == 0) at = MSIX + below(0x60);
  else if (below(4) == 0) at = below(2) == 0 ? ISR + below(4) : NOTIFY + below(20);
  else if (below(8) == 0) at = below(0x8000);
  if (below(3) == 0) load(bar + at, size);
  else if (at + 8 > MSIX && at < MSIX + 0x1000) store(bar + at, size, (u64)message() << 32 | message());
  else store(bar + at, size, (u64)value() << 32 | value());
  if (at == STATUS && (load(bar + STATUS, 1) & (NEEDS_RESET | DRIVER_OK)) > NEEDS_RESET) me->given_up++;
}

static void access_config(void) {
  const u32 slot = below(5) == 0 ? below(32) : 1, size = size_of_port_access();
  const u32 at = 0xcf8 + below(9);
  if (below(2) == 0) out(0xcf8, 4, 0x80000000 | slot << 11 | (below(64) << 2));
  // The window's data may go where messages are kept.
  if (below(2) == 0) in(at, size);
  else out(at, size, message());
}

static void access_port(void) {
  static const u16 ports[] = {0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x70, 0x71, 0x64, 0x60,
                              0x80, 0x20, 0x21, 0xa1, 0x61, 0xcfb, 0xcf9};
  const u16 port = below(8) == 0 ? below(0x10000) : PICK(ports);
  const u32 what = value();
  if ((port >= 0xf1 && port <= 0xf4) || (port >= 0x3d && port <= 0x43)) return;
  if (below(2) == 0) in(port, size_of_port_access());
  else if ((what & 0xff) != 0xfe) out(port, size_of_port_access(), what);
}

/// As many accesses of one port as the count says, and the kernel brings them a page at a time.
static void access_string(void) {
  static const u16 ports[] = {0x3f8, 0x3fd, 0xcfc, 0x71};
  u64 count = 1 + below(40), at = SCRATCH + 0x300000;
  me->done += count;
  const u16 port = PICK(ports);
  if (below(2) == 0) __asm__ volatile("rep insb" : "+D"(at), "+c"(count) : "d"(port) : "memory");
  else __asm__ volatile("rep outsb" : "+S"(at), "+c"(count) : "d"(port) : "memory");
}

/// Where no RAM is, and across the end of RAM.
static void access_nothing(void) {
  static const u64 places[] = {RAM_END - 3, RAM_END - 1, RAM_END, HOLE - 4, HOLE_END - 9, 0xd0000ffd};
  const u64 at = PICK(places) + below(2);
  if (below(2) == 0) load(at, size_of_memory_access());
  else store(at, size_of_memory_access(), value());
}

static void step(u32 slot) {
  switch (below(200)) {
    case 0: case 1:
      drive(slot);
      break;
    case 2: case 3: case 4: case 5: case 6: case 7: case 8: case 9:
      scribble();
      kick(bar_of(slot));
      break;
    case 10: case 11: case 12:
      access_string();
      break;
    default:
      if (below(3) != 0) access_bar(slot);
      else if (below(2) == 0) access_config();
      else if (below(2) == 0) access_port();
      else access_nothing();
  }
}

static u64 number(const char* line, const char* name) {
  for (; *line != 0; line++) {
    u32 length = 0;
    while (name[length] != 0 && line[length] == name[length]) length++;
    if (name[length] != 0) continue;
    u64 found = 0;
    for (line += length; *line >= '0' && *line <= '9'; line++) found = found * 10 + (*line - '0');
    return found;
  }
  return 0;
}

static void print(const char* text, u64 count) {
  char digits[24];
  u32 at = sizeof digits;
  for (; *text != 0; text++) out(0x3f8, 1, (u8)*text);
  do digits[--at] = '0' + count % 10;
  while ((count /= 10) > 0);
  while (at < sizeof digits) out(0x3f8, 1, (u8)digits[at++]);
}

static void set_up_interrupts(void) {
  const u64 handler = (u64)&ignore;
  for (u32 i = 0; i < 256; i++) {
    idt[i].low = (handler & 0xffff) | 0x10UL << 16 | 0x8e00UL << 32 | (handler >> 16 & 0xffff) << 48;
    idt[i].high = handler >> 32;
  }
  const struct { u16 limit; u64 base; } __attribute__((packed)) table = {sizeof idt - 1, (u64)idt};
  __asm__ volatile("lidt %0" : : "m"(table));
}

static void reset(void) { out(0x64, 1, 0xfe); }

static void fault(void) {
  const struct { u16 limit; u64 base; } __attribute__((packed)) none = {0, 0};
  __asm__ volatile("lidt %0; ud2" : : "m"(none));
}

/// Each does something else.
static void work(void) {
  me->state = (seed + (me - cpus) * 0x10001) * 0x9e3779b97f4a7c15UL + 1;
  while (me->done < share) {
    if (cards > 0) step(1 + below(cards));
    else if (below(2) == 0) access_config();
    else if (below(8) == 0) access_string();
    else if (below(2) == 0) access_port();
    else access_nothing();
  }
  me->finished = 1;
}

__attribute__((used)) void begin_other(u64 number_of_this) {
  me = &cpus[number_of_this];
  set_up_interrupts();
  work();
}

/// INIT and start-up for all but this one. Only here is anything written to the local APIC.
static void start_others(u64 count) {
  volatile u32* const command = (volatile u32*)(APIC + 0x300);
  volatile u8* const place = (volatile u8*)TRAMPOLINE;
  for (const u8* byte = trampoline; byte < trampoline_end; byte++) place[byte - trampoline] = *byte;
  *(volatile u32*)(APIC + 0xf0) = 0x1ff;
  *command = 0xc4500;
  *command = 0xc4600 | TRAMPOLINE >> 12;
  while (present < count) __builtin_ia32_pause();
}

static struct cpu sum(u64 count) {
  struct cpu all = {0};
  for (u64 i = 0; i < count; i++) {
    while (cpus[i].finished == 0) __builtin_ia32_pause();
    all.done += cpus[i].done;
    all.starts += cpus[i].starts;
    all.refused += cpus[i].refused;
    all.given_up += cpus[i].given_up;
  }
  return all;
}

__attribute__((used)) void begin(const u8* zero_page) {
  const char* line = (const char*)(u64) * (const u32*)(zero_page + COMMAND_LINE);
  const u64 count = number(line, "cpus=");
  set_up_interrupts();
  seed = number(line, "seed=");
  cards = number(line, "cards=");
  share = number(line, "count=") / count;
  if (count > 1) start_others(count);
  work();
  if (number(line, "end=") == 1) reset();
  if (number(line, "end=") == 2) fault();
  const struct cpu all = sum(count);
  out(0x3fb, 1, 3);
  out(0x3fc, 1, 0);
  print("\n@accesses ", all.done);
  print(" starts ", all.starts);
  print(" refused ", all.refused);
  print(" given-up ", all.given_up);
  print(" cpus ", count);
  print(" seed ", seed);
  out(0x3f8, 1, '@');
  out(0x3f8, 1, '\n');
  out(0xf4, 1, 42);
}
