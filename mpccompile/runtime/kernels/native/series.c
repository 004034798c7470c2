/* Fourier series of masked values: the waves that the dealer shares, and what turns them back by the opened value.

   Angles are integers: t of 2^period turns of the circle. The quarter turn is taken off exactly, and the rest, at most
   an eighth of a turn, goes into Taylor polynomials; every operation is an addition or a multiplication as IEEE 754
   has them, so that all machines get the same bits. */

#include "common.h"

/* Adding 1.5 * 2^52 puts the nearest integer, ties to even, into the low bits of a double of size below 2^51. */
INLINED int64_t nearest(double x)
{
    double moved = x + 6755399441055744.0;
    int64_t bits;
    memcpy(&bits, &moved, sizeof bits);
    return bits - 0x4338000000000000;
}

INLINED double sine_of_eighth(double x)
{
    double y = x * x;
    double p = -1.0 / 1307674368000.0;
    p = p * y + 1.0 / 6227020800.0;
    p = p * y - 1.0 / 39916800.0;
    p = p * y + 1.0 / 362880.0;
    p = p * y - 1.0 / 5040.0;
    p = p * y + 1.0 / 120.0;
    p = p * y - 1.0 / 6.0;
    return x + x * (y * p);
}

INLINED double cosine_of_eighth(double x)
{
    double y = x * x;
    double p = 1.0 / 20922789888000.0;
    p = p * y - 1.0 / 87178291200.0;
    p = p * y + 1.0 / 479001600.0;
    p = p * y - 1.0 / 3628800.0;
    p = p * y + 1.0 / 40320.0;
    p = p * y - 1.0 / 720.0;
    p = p * y + 1.0 / 24.0;
    return 1.0 - y * (0.5 - y * p);
}

/* Write the cosine and sine of value / 2^period turns; 1 <= period <= 60. */
INLINED void point_on_circle(const uint64_t *values, uint64_t origin, int64_t count, int period, double *cosine,
                             double *sine)
{
    /* Three more bits, so that an eighth of a turn is an integer for any period. */
    int fine = period + 3;
    uint64_t keep = low_bits(fine), eighth = (uint64_t)1 << period;
    double unit = 6.283185307179586 / (double)((uint64_t)1 << fine);
    for (int64_t i = 0; i < count; i++) {
        uint64_t turn = ((values[i] - origin) << 3) & keep;
        uint64_t quarter = (turn + eighth) >> (fine - 2);
        double rest = (double)(int64_t)(turn - (quarter << (fine - 2))) * unit;
        double c = cosine_of_eighth(rest), s = sine_of_eighth(rest);
        double along = quarter & 1 ? s : c, across = quarter & 1 ? c : s;
        cosine[i] = ((quarter + 1) & 2) ? -along : along;
        sine[i] = (quarter & 2) ? -across : across;
    }
}

/* Turn each point by its own angle once more. */
INLINED void turn(double *cosine, double *sine, const double *by_cosine, const double *by_sine, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double c = cosine[i] * by_cosine[i] - sine[i] * by_sine[i];
        sine[i] = sine[i] * by_cosine[i] + cosine[i] * by_sine[i];
        cosine[i] = c;
    }
}

/* Write the other share of unit * cos(k w m) and unit * sin(k w m), k = 1..harmonics, of masks m over the share that
   `shares` holds, in blocks: of each `block` masks first the cosines, harmonic by harmonic, then the sines. */
VERSIONED void mpc_waves(const uint64_t *masks, int64_t count, int64_t block, int period, int harmonics, double unit,
                         uint64_t *shares)
{
    double by_cosine[TILE], by_sine[TILE], cosine[TILE], sine[TILE];
    for (int64_t start = 0; start < count; start += block) {
        int64_t width = smaller(block, count - start);
        for (int64_t first = 0; first < width; first += TILE) {
            int64_t many = smaller(TILE, width - first);
            point_on_circle(masks + start + first, 0, many, period, by_cosine, by_sine);
            memcpy(cosine, by_cosine, sizeof cosine);
            memcpy(sine, by_sine, sizeof sine);
            for (int k = 0; k < harmonics; k++) {
                uint64_t *one = shares + 2 * harmonics * start + k * width + first, *two = one + harmonics * width;
                for (int64_t i = 0; i < many; i++) {
                    one[i] = (uint64_t)nearest(unit * cosine[i]) - one[i];
                    two[i] = (uint64_t)nearest(unit * sine[i]) - two[i];
                }
                turn(cosine, sine, by_cosine, by_sine, many);
            }
        }
    }
}

/* Write the share of constant + slope x + sum_k a_k cos(k w (d - r)) + b_k sin(k w (d - r)): see turn_back in
   series.py. `waves` holds shares of those of r, in blocks; `slope` times the share x is added when x is not NULL. */
VERSIONED void mpc_turn_back(const uint64_t *opened, const uint64_t *waves, int64_t count, int64_t block,
                             uint64_t origin, int period, int harmonics, const double *a, const double *b,
                             const uint64_t *x, uint64_t slope, uint64_t constant, uint64_t *out)
{
    double by_cosine[TILE], by_sine[TILE], cosine[TILE], sine[TILE];
    for (int64_t start = 0; start < count; start += block) {
        int64_t width = smaller(block, count - start);
        for (int64_t first = 0; first < width; first += TILE) {
            int64_t many = smaller(TILE, width - first);
            uint64_t *total = out + start + first;
            point_on_circle(opened + start + first, origin, many, period, by_cosine, by_sine);
            memcpy(cosine, by_cosine, sizeof cosine);
            memcpy(sine, by_sine, sizeof sine);
            for (int64_t i = 0; i < many; i++)
                total[i] = constant + (x ? slope * x[start + first + i] : 0);
            for (int k = 0; k < harmonics; k++) {
                const uint64_t *one = waves + 2 * harmonics * start + k * width + first, *two = one + harmonics * width;
                double ak = a[k], bk = b[k];
                for (int64_t i = 0; i < many; i++) {
                    uint64_t along = (uint64_t)nearest(ak * cosine[i] + bk * sine[i]);
                    uint64_t across = (uint64_t)nearest(ak * sine[i] - bk * cosine[i]);
                    total[i] += along * one[i] + across * two[i];
                }
                turn(cosine, sine, by_cosine, by_sine, many);
            }
        }
    }
}
