/* Which instruction sets are compiled in: all that the architecture may have, but those that -DDWCONV_NO_AVX2,
 * -DDWCONV_NO_AVX512 or -DDWCONV_NO_NEON leave out. Their flags stand in the files here, as pragmas, and nowhere
 * else; the preprocessor decides for each architecture of a command line (macOS: -arch arm64 -arch x86_64);
 * which of them runs is decided by the CPU. */
#ifndef DWCONV_WHICH_H
#define DWCONV_WHICH_H

#if !defined __GNUC__ && !defined __clang__
#error "the kernels need the vector extensions of GCC or Clang"
#endif

#undef DWCONV_HAVE_AVX2
#undef DWCONV_HAVE_AVX512
#undef DWCONV_HAVE_NEON
#undef DWCONV_HAVE_AVX512_S8

#if defined __x86_64__ && !defined DWCONV_NO_AVX2
#define DWCONV_HAVE_AVX2 1
#endif
#if defined __x86_64__ && !defined DWCONV_NO_AVX512
#define DWCONV_HAVE_AVX512 1
#endif
#if defined __aarch64__ && !defined DWCONV_NO_NEON
#define DWCONV_HAVE_NEON 1
#endif

/* tests/c/emulated_avx512.h has no 8-bit integers. */
#if defined DWCONV_HAVE_AVX512 && !defined DWC_EMULATED_AVX512
#define DWCONV_HAVE_AVX512_S8 1
#endif

#endif
