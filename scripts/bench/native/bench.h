// What every program of the benchmark that is written in C begins with.
#ifndef BENCH_H_
#define BENCH_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Prints what failed, with errno, and ends the program.
_Noreturn void die(const char* what);

/// Ends the program when a system call said -1; else its result.
int check(int result, const char* what);

/// Attaches to a tap that exists, by its name, or to a macvtap: `macvtap:NAME`.
int open_tap(const char* backend, bool vnet_hdr);

/// The frame that every side sends: UDP over IPv4 to an Ethernet address that nobody has, and
/// port 9.
void fill_frame(uint8_t* frame, size_t length);

/// The frame that goes out with a GSO header: TCP, without options.
void fill_gso_frame(uint8_t* frame, size_t length);

/// The header of a TCP frame of 64 KiB that the kernel is to cut into segments of 1448 bytes.
/// `struct virtio_net_hdr`: 10 bytes; what follows it in longer ones is 0.
void fill_gso_header(uint8_t* header);

/// Makes the reply of an ICMP echo request, in place; false: it is none.
bool make_echo_reply(uint8_t* frame, size_t length);

/// Tells who measures that the measuring may begin.
void ready(void);

#endif  // BENCH_H_
