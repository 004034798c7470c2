/* What the kernels share: the versions a compiler makes of each, and the block layout of dealt tables. */

#ifndef MPCCOMPILE_COMMON_H
#define MPCCOMPILE_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* One version of a function for each level of x86 processors, chosen when the library is loaded. They compute the same
   numbers, to the bit: floating point is never contracted or reordered (see the flags in pyproject.toml). */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define VERSIONED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VERSIONED
#endif

#define INLINED static inline __attribute__((always_inline))

/* Elements whose temporaries are held at a time: 2 KiB for each array of words, so that a dozen stay in the first-level
   cache. */
enum { TILE = 256 };

INLINED int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }

/* The low `bits` bits of a word, 1 to 64. */
INLINED uint64_t low_bits(int bits) { return bits >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << bits) - 1; }

#endif
