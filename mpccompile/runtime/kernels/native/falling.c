/* Range tests: falling factorials of masks, and the words that agree at both parties when values are in range. */

#include "common.h"

/* Write the other share of C(degree, i) (-m)(-m - 1) ... (-m - i + 1), i = 1..degree, of the bits of each mask from
   `drop` to `bits`, over the share that `shares` holds, in blocks as those of waves. */
VERSIONED void mpc_falling(const uint64_t *masks, int64_t count, int64_t block, int bits, int drop, int degree,
                           const uint32_t *binomials, uint32_t *shares)
{
    uint32_t negative[TILE], factorial[TILE];
    for (int64_t start = 0; start < count; start += block) {
        int64_t width = smaller(block, count - start);
        for (int64_t first = 0; first < width; first += TILE) {
            int64_t many = smaller(TILE, width - first);
            for (int64_t i = 0; i < many; i++) {
                negative[i] = -(uint32_t)((masks[start + first + i] & low_bits(bits)) >> drop);
                factorial[i] = 1;
            }
            for (int k = 0; k < degree; k++) {
                uint32_t *row = shares + degree * start + k * width + first;
                for (int64_t i = 0; i < many; i++) {
                    factorial[i] *= negative[i] - (uint32_t)k;
                    row[i] = binomials[k] * factorial[i] - row[i];
                }
            }
        }
    }
}

/* Add up the words of (h - m)(h - m - 1) ... (h - m - degree + 1), h the opened value's bits from `drop` to `bits`,
   times the low and the high half of a coin each, modulo 2^64: see _combined in checks.py. `only` may be NULL. */
VERSIONED void mpc_range_words(const uint64_t *opened, const uint32_t *falling, int64_t count, int64_t block,
                               uint64_t low, int bits, int drop, int degree, const uint64_t *coins,
                               const uint8_t *only, int rank, uint64_t *totals)
{
    uint32_t high[TILE], product[TILE], share[TILE];
    uint64_t one = 0, two = 0, keep = low_bits(bits);
    uint32_t word_bits = (uint32_t)low_bits((int)smaller(bits - drop, 32));
    for (int64_t start = 0; start < count; start += block) {
        int64_t width = smaller(block, count - start);
        for (int64_t first = 0; first < width; first += TILE) {
            int64_t many = smaller(TILE, width - first), at = start + first;
            const uint32_t *rows = falling + degree * start + first;
            for (int64_t i = 0; i < many; i++) {
                high[i] = (uint32_t)(((opened[at + i] - low) & keep) >> drop);
                product[i] = 1;
                share[i] = rows[(degree - 1) * width + i];
            }
            for (int k = 0; k < degree - 1; k++) {
                const uint32_t *row = rows + (degree - 2 - k) * width;
                for (int64_t i = 0; i < many; i++) {
                    product[i] *= high[i] - (uint32_t)k;
                    share[i] += product[i] * row[i];
                }
            }
            for (int64_t i = 0; i < many; i++) {
                uint32_t whole = share[i] + product[i] * (high[i] - (uint32_t)(degree - 1));
                uint64_t word = (rank == 0 ? whole : -share[i]) & word_bits;
                word = only && !only[at + i] ? 0 : word;
                one += word * ((coins[at + i] & 0xffffffff) | 1);
                two += word * ((coins[at + i] >> 32) | 1);
            }
        }
    }
    totals[0] = one;
    totals[1] = two;
}
