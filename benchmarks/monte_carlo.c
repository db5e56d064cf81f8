/* The Bernoulli scheme of Avellaneda & Stoikov (2008) from tables of fill thresholds and gains, in SIMD lanes.
 *
 * The same streams and tables as mmlib.market_making._kernels.monte_carlo, without a hard limit: the same profits to
 * the last bit. Written for speed: vector types of the machine's width, counts packed two to a word.
 *
 *     cc -O3 -march=native -ffp-contract=off -fopenmp -shared -fPIC monte_carlo.c -o monte_carlo.so
 */
#include <stdint.h>

/* Entries of a table at indices in memory: scalar loads, faster than gather instructions where those are microcode. */
#ifdef __AVX512F__
#define WIDTH 8
#define LOOK_UP(t, at) {t[at[0]], t[at[1]], t[at[2]], t[at[3]], t[at[4]], t[at[5]], t[at[6]], t[at[7]]}
#else
#define WIDTH 4
#define LOOK_UP(t, at) {t[at[0]], t[at[1]], t[at[2]], t[at[3]]}
#endif
#define LANES 128
#define VECTORS (LANES / WIDTH)

typedef uint64_t words __attribute__((vector_size(8 * WIDTH)));
typedef int64_t longs __attribute__((vector_size(8 * WIDTH)));
typedef double doubles __attribute__((vector_size(8 * WIDTH)));

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

#define ROTATE(v, n) (((v) << (n)) | ((v) >> (64 - (n))))

/* profit, final, bid_fills, ask_fills: (paths,). thresholds: (steps, m), gains: (steps, 4 m). */
void simulate(uint64_t seed, int64_t paths, int64_t start, int64_t lowest, int64_t steps, int64_t m, double swing,
              const uint64_t *thresholds, const double *gains, double *profit, int64_t *final, int64_t *bid_fills,
              int64_t *ask_fills)
{
    const uint64_t golden = 0x9E3779B97F4A7C15u, key = mix(seed + golden);
#pragma omp parallel for schedule(dynamic)
    for (int64_t first = 0; first < paths; first += LANES) {
        words x[VECTORS], y[VECTORS], unfilled[VECTORS];    /* unfilled: asks in the lower half, bids above */
        longs q[VECTORS], swung[VECTORS], outcome[VECTORS]; /* swung: Σq over falls of the mid, over rises above */
        doubles gain[VECTORS];
        for (int v = 0; v < VECTORS; v++)
            for (int j = 0; j < WIDTH; j++) {
                x[v][j] = mix(key + golden * (4 * (uint64_t)(first + v * WIDTH + j)));
                y[v][j] = mix(x[v][j] + golden);
                q[v][j] = start;
                unfilled[v][j] = 0, swung[v][j] = 0, gain[v][j] = 0;
            }
        for (int64_t i = 0; i < steps; i++) {
            const uint64_t *threshold = thresholds + i * m - lowest;
            const double *earned = gains + 4 * (i * m - lowest);
            for (int v = 0; v < VECTORS; v++) {
                words s = x[v], t = y[v], word = s + t;
                word = ROTATE(word, 17) + s;
                t ^= s;
                x[v] = ROTATE(s, 49) ^ t ^ (t << 21);
                y[v] = ROTATE(t, 28);
                const words limit = LOOK_UP(threshold, ((int64_t *)&q[v]));
                words both = (((word | 0x8000000080000000u) - limit) >> 31) & 0x100000001u;
                words no_bid = both >> 32, no_ask = both & 1;
                outcome[v] = (q[v] << 2) + (longs)(no_bid + no_bid + no_ask);
                gain[v] += (doubles) LOOK_UP(earned, ((int64_t *)&outcome[v]));
                q[v] += (longs)(no_ask - no_bid);
                unfilled[v] += both;
                swung[v] += q[v] << (longs)((word >> 58) & 32);
            }
        }
        for (int64_t j = first; j < paths && j < first + LANES; j++) {
            int v = (int)(j - first) / WIDTH, lane = (int)(j - first) % WIDTH;
            int64_t fell = (int32_t)swung[v][lane], rose = (swung[v][lane] - fell) >> 32;
            profit[j] = gain[v][lane] + swing * (double)(rose - fell);
            final[j] = q[v][lane];
            bid_fills[j] = steps - (int64_t)(unfilled[v][lane] >> 32);
            ask_fills[j] = steps - (int64_t)(unfilled[v][lane] & 0xFFFFFFFF);
        }
    }
}
