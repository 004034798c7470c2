/* Openings and truncation: masked words into messages, messages into opened words, opened words into quotients. */

#include "common.h"

/* Write the low `width` bytes of share + mask + offset of each element; `mask` may be NULL. */
VERSIONED void mpc_pack(const uint64_t *share, const uint64_t *mask, uint64_t offset, int64_t count, int width,
                        uint8_t *out)
{
    if (width == 8) {
        for (int64_t i = 0; i < count; i++) {
            uint64_t word = share[i] + (mask ? mask[i] : 0) + offset;
            memcpy(out + 8 * i, &word, 8);
        }
        return;
    }
    /* Whole words are written one over the end of the other; the last ones may not reach beyond the message. */
    int64_t whole = count - smaller(count, 8);
    for (int64_t i = 0; i < count; i++) {
        uint64_t word = share[i] + (mask ? mask[i] : 0) + offset;
        memcpy(out + width * i, &word, i < whole ? 8 : (size_t)width);
    }
}

INLINED uint64_t read_word(const uint8_t *from, int64_t index, int64_t whole, int width, uint64_t keep)
{
    uint64_t word = 0;
    memcpy(&word, from + width * index, index < whole ? 8 : (size_t)width);
    return word & keep;
}

/* Read the values of `width` bytes that two messages hold, and add or, if `exclusive`, XOR them modulo 2^(8 width);
   `theirs` may be NULL. */
VERSIONED void mpc_combine(const uint8_t *mine, const uint8_t *theirs, int64_t count, int width, int exclusive,
                           uint64_t *out)
{
    uint64_t keep = low_bits(8 * width);
    int64_t whole = width == 8 ? count : count - smaller(count, 8);
    for (int64_t i = 0; i < count; i++) {
        uint64_t word = read_word(mine, i, whole, width, keep);
        uint64_t other = theirs ? read_word(theirs, i, whole, width, keep) : 0;
        out[i] = (exclusive ? word ^ other : word + other) & keep;
    }
}

/* Turn an opened value into the public part of its quotient by 2^drop, and this party's share of the quotient: see
   truncate in openings.py. `top` is the share of the mask's top bit, NULL when the carry vanishes. */
VERSIONED void mpc_quotient(const uint64_t *opened, const uint64_t *high, const uint64_t *top, int64_t count, int bits,
                            int drop, uint64_t offset, int rank, uint64_t *public_part, uint64_t *share)
{
    int keep = bits - drop;
    for (int64_t i = 0; i < count; i++) {
        uint64_t quotient = (opened[i] >> drop) - offset;
        uint64_t carry = top ? (top[i] & (((opened[i] >> (bits - 1)) & 1) - 1)) << (keep & 63) : 0;
        public_part[i] = quotient;
        share[i] = carry - high[i] + (rank == 0 ? quotient : 0);
    }
}
