/* Matrix products modulo 2^64 on the tile unit of x86 processors (AMX), out of products of 8-bit digits.

   A word is its bytes: all unsigned, except the last of a value that is known to be a shorter signed number, which is
   signed. The unit multiplies either kind, so no digit needs to be balanced. Level s of a product is the sum of the
   digit products with i + j = s, and counts 2^(8 s).

   Operands are packed into tiles of 16 rows of 64 bytes: of the left operand 16 rows by 64 inner values, of the right
   one 64 inner values, four to a row, by 16 columns. Tiles stand in the order in which a product reads them. */

#include "common.h"

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SIDE = 16, DEPTH = 64, TILE_BYTES = 1024, WORD_BYTES = 8, PAIR = 2 };

/* Digit pairs that a sum of 32 bits holds: each is at most 255 * 255. */
enum { MOST_PAIRS = 33024 };

#define ON_TILES __attribute__((target("amx-tile,amx-int8,avx512f,avx512bw,avx512dq,avx512vl")))

/* Say whether the processor has the unit and the system lets this process use it. */
int mpc_amx_available(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 24 & 1) || !(d >> 25 & 1) || !(b >> 16 & 1) ||
        !(b >> 30 & 1))
        return 0;
    /* ARCH_REQ_XCOMP_PERM for the tiles' registers. */
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}

/* Eight tiles of 16 rows of 64 bytes. A constant, because a compiler does not see that the instruction reads it. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} CONFIGURATION = {
    .palette = 1,
    .bytes = {DEPTH, DEPTH, DEPTH, DEPTH, DEPTH, DEPTH, DEPTH, DEPTH},
    .rows = {SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE},
};

/* Write the digits of `count` words, at most 64, as one row of 64 bytes for each; rows are `step` bytes apart. */
ON_TILES static void split_row(const int64_t *words, int64_t count, int digits, uint8_t *out, int64_t step)
{
    int64_t padded[DEPTH] = {0};
    if (count < DEPTH) {
        memcpy(padded, words, (size_t)count * sizeof *words);
        words = padded;
    }
    for (int group = 0; group < DEPTH / WORD_BYTES; group++) {
        __m512i eight = _mm512_loadu_si512(words + WORD_BYTES * group);
        for (int digit = 0; digit < digits; digit++) {
            __m128i bytes = _mm512_cvtepi64_epi8(_mm512_srli_epi64(eight, 8 * (unsigned)digit));
            _mm_storel_epi64((__m128i *)(out + digit * step + WORD_BYTES * group), bytes);
        }
    }
}

/* Pack left operands [batch, rows, inner]: for each 16 rows the digits, for each digit the tiles along the inner
   dimension. */
ON_TILES void mpc_amx_pack_left(const int64_t *values, int64_t batch, int64_t rows, int64_t inner, int digits,
                                uint8_t *out)
{
    int64_t depth = (inner + DEPTH - 1) / DEPTH, tall = (rows + SIDE - 1) / SIDE;
    memset(out, 0, (size_t)(batch * tall * digits * depth * TILE_BYTES));
    for (int64_t item = 0; item < batch; item++)
        for (int64_t row = 0; row < rows; row++) {
            const int64_t *from = values + (item * rows + row) * inner;
            uint8_t *to = out + (item * tall + row / SIDE) * digits * depth * TILE_BYTES + row % SIDE * DEPTH;
            for (int64_t k = 0; k < depth; k++)
                split_row(from + k * DEPTH, smaller(DEPTH, inner - k * DEPTH), digits, to + k * TILE_BYTES,
                          depth * TILE_BYTES);
        }
}

/* Write four rows of up to 16 words as the digits of one row of each tile. */
ON_TILES static void split_quad(const int64_t *words, int64_t inner_left, int64_t columns, int64_t stride, int digits,
                                uint8_t *out, int64_t step)
{
    uint64_t quad[4][SIDE] = {{0}};
    for (int64_t k = 0; k < smaller(4, inner_left); k++)
        memcpy(quad[k], words + k * stride, (size_t)columns * sizeof *words);
    for (int digit = 0; digit < digits; digit++) {
        uint32_t row[SIDE];
        for (int n = 0; n < SIDE; n++) {
            uint32_t bytes = 0;
            for (int k = 0; k < 4; k++)
                bytes |= (uint32_t)(quad[k][n] >> (8 * digit) & 0xff) << (8 * k);
            row[n] = bytes;
        }
        memcpy(out + digit * step, row, sizeof row);
    }
}

/* Pack right operands [batch, inner, columns]: for each 16 columns the digits, for each digit the tiles along the inner
   dimension. */
ON_TILES void mpc_amx_pack_right(const int64_t *values, int64_t batch, int64_t inner, int64_t columns, int digits,
                                 uint8_t *out)
{
    int64_t depth = (inner + DEPTH - 1) / DEPTH, wide = (columns + SIDE - 1) / SIDE;
    for (int64_t item = 0; item < batch; item++)
        for (int64_t n = 0; n < wide; n++) {
            uint8_t *to = out + (item * wide + n) * digits * depth * TILE_BYTES;
            int64_t many = smaller(SIDE, columns - n * SIDE);
            for (int64_t k = 0; k < depth * DEPTH; k += 4)
                split_quad(values + (item * inner + k) * columns + n * SIDE, inner - k, many, columns, digits,
                           to + k / DEPTH * TILE_BYTES + k % DEPTH / 4 * DEPTH, depth * TILE_BYTES);
        }
}

/* Tiles 0 to 3 are sums, 4 and 5 are of the left operand, 6 and 7 of the right one. */
#define MULTIPLY_ALONG(multiply)                                                                                       \
    for (int64_t k = 0; k < depth; k++) {                                                                              \
        _tile_loadd(4, upper + k * TILE_BYTES, DEPTH);                                                                 \
        _tile_loadd(6, first + k * TILE_BYTES, DEPTH);                                                                 \
        _tile_loadd(7, second + k * TILE_BYTES, DEPTH);                                                                \
        multiply(0, 4, 6);                                                                                             \
        multiply(1, 4, 7);                                                                                             \
        if (lower) {                                                                                                   \
            _tile_loadd(5, lower + k * TILE_BYTES, DEPTH);                                                             \
            multiply(2, 5, 6);                                                                                         \
            multiply(3, 5, 7);                                                                                         \
        }                                                                                                              \
    }

/* Add one digit pair's product of 16 or, with a lower half, 32 rows by 32 columns to the sums. */
ON_TILES static void add_pair(const uint8_t *upper, const uint8_t *lower, const uint8_t *first, const uint8_t *second,
                              int64_t depth, int left_signed, int right_signed)
{
    if (left_signed && right_signed) {
        MULTIPLY_ALONG(_tile_dpbssd)
    } else if (left_signed) {
        MULTIPLY_ALONG(_tile_dpbsud)
    } else if (right_signed) {
        MULTIPLY_ALONG(_tile_dpbusd)
    } else {
        MULTIPLY_ALONG(_tile_dpbuud)
    }
}

ON_TILES static void clear_sums(void)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

/* Add the sums, times 2^(8 level), to the result of 32 by 32. */
ON_TILES static void collect(uint64_t *result, int level, int tall)
{
    int32_t sums[PAIR * PAIR][SIDE * SIDE] __attribute__((aligned(64)));
    _tile_stored(0, sums[0], SIDE * 4);
    _tile_stored(1, sums[1], SIDE * 4);
    if (tall > 1) {
        _tile_stored(2, sums[2], SIDE * 4);
        _tile_stored(3, sums[3], SIDE * 4);
    }
    for (int part = 0; part < PAIR * tall; part++)
        for (int row = 0; row < SIDE; row++) {
            uint64_t *to = result + (part / PAIR * SIDE + row) * PAIR * SIDE + part % PAIR * SIDE;
            for (int n = 0; n < SIDE; n++)
                to[n] += (uint64_t)(int64_t)sums[part][row * SIDE + n] << (8 * level);
        }
}

struct operand {
    const uint8_t *tiles;
    int digits, is_signed;
};

/* Write one block of 32 by 32 of a product, all levels and all pieces of the inner dimension. */
ON_TILES static void multiply_block(struct operand left, struct operand right, int tall, int wide, int64_t depth,
                                    int levels, uint64_t *result)
{
    int most = left.digits < right.digits ? left.digits : right.digits;
    int64_t piece = MOST_PAIRS / most / DEPTH, next = depth * TILE_BYTES;
    memset(result, 0, sizeof(uint64_t) * PAIR * PAIR * SIDE * SIDE);
    for (int64_t start = 0; start < depth; start += piece)
        for (int level = 0; level < levels && level < left.digits + right.digits - 1; level++) {
            clear_sums();
            for (int i = level < right.digits ? 0 : level - right.digits + 1; i <= level && i < left.digits; i++) {
                int j = level - i;
                const uint8_t *upper = left.tiles + i * next + start * TILE_BYTES;
                const uint8_t *first = right.tiles + j * next + start * TILE_BYTES;
                add_pair(upper, tall > 1 ? upper + left.digits * next : NULL, first,
                         wide > 1 ? first + right.digits * next : first, smaller(piece, depth - start),
                         left.is_signed && i == left.digits - 1, right.is_signed && j == right.digits - 1);
            }
            collect(result, level, tall);
        }
}

/* Multiply packed operands [batch, rows, inner] and [batch, inner, columns] modulo 2^(8 levels); the bits above are
   arbitrary. `signs` is 1 for a left operand of short signed values, plus 2 for a right one. */
ON_TILES void mpc_amx_multiply(const uint8_t *left, const uint8_t *right, int64_t batch, int64_t rows, int64_t inner,
                               int64_t columns, int left_digits, int right_digits, int levels, int signs, int64_t *out)
{
    int64_t depth = (inner + DEPTH - 1) / DEPTH, wide = (columns + SIDE - 1) / SIDE, tall = (rows + SIDE - 1) / SIDE;
    uint64_t block[PAIR * PAIR * SIDE * SIDE] __attribute__((aligned(64)));
    _tile_loadconfig(&CONFIGURATION);
    for (int64_t item = 0; item < batch; item++, out += rows * columns)
        for (int64_t n = 0; n < wide; n += PAIR)
            for (int64_t m = 0; m < tall; m += PAIR) {
                struct operand one = {left + (item * tall + m) * left_digits * depth * TILE_BYTES, left_digits, signs & 1};
                struct operand two = {right + (item * wide + n) * right_digits * depth * TILE_BYTES, right_digits,
                                      signs & 2};
                multiply_block(one, two, (int)smaller(PAIR, tall - m), (int)smaller(PAIR, wide - n), depth, levels, block);
                for (int64_t row = 0; row < smaller(PAIR * SIDE, rows - m * SIDE); row++)
                    memcpy(out + (m * SIDE + row) * columns + n * SIDE, block + row * PAIR * SIDE,
                           (size_t)smaller(PAIR * SIDE, columns - n * SIDE) * sizeof *out);
            }
    _tile_release();
}

#else

int mpc_amx_available(void) { return 0; }

#endif
