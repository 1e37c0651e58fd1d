// Included before everything else where the addon is built for other machines than this one
// (`portable=yes`). A symbol is bound to the version that the glibc at hand has as its newest, and
// an older glibc then refuses the whole addon. These have an older version that does the same; what
// else is newer than the oldest glibc to be served, scripts/prebuild refuses.

#if !defined(__x86_64__) || !defined(__linux__)
#error "the old versions of these symbols are known for linux-x64 only"
#endif

#ifdef __cplusplus
extern "C" {
#endif

// glibc 2.34 moved libpthread into libc.
__asm__(".symver pthread_create, pthread_create@GLIBC_2.2.5");
__asm__(".symver pthread_join, pthread_join@GLIBC_2.2.5");
__asm__(".symver pthread_kill, pthread_kill@GLIBC_2.2.5");
__asm__(".symver pthread_attr_setstacksize, pthread_attr_setstacksize@GLIBC_2.2.5");

// glibc 2.32 moved this one before the others.
__asm__(".symver pthread_sigmask, pthread_sigmask@GLIBC_2.2.5");

// glibc 2.32 tells shared_ptr whether it may count without atomic operations. Node always has
// threads.
__attribute__((weak, visibility("hidden"))) char __libc_single_threaded = 0;

#ifdef __cplusplus
}
#endif
