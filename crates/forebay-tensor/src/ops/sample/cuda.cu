// `sample(values, ids, positions, rules, places, out, k, rule_count, by_place)`: a block owns a row. Its threads make shares,
// which the first one adds up in order, so that sums are those of the host (`draw.rs`), to the last bit: nothing here is fused.

#include "../../tiles/cuda/begin.cuh"

#define THREADS 256
#define NONE 0xffffffffu
// Below this a power of e is next to nothing.
#define LEAST -708.0
// Adding it to a number leaves no place behind the point.
#define WHOLE 6755399441055744.0
#define LOG2_E 1.4426950408889634
// ln 2 in two parts, and 1 / n! from n = 13 on.
#define LN_2_HIGH 6.931471803691238e-1
#define LN_2_LOW 1.9082149292705877e-10

__constant__ double terms[14] = {
    1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0,
    1.0 / 40320.0,      1.0 / 5040.0,      1.0 / 720.0,      1.0 / 120.0,     1.0 / 24.0,
    1.0 / 6.0,          1.0 / 2.0,         1.0,              1.0,
};

// e to a power that is not positive.
__device__ double power(double x) {
    if (!(x >= LEAST)) return 0.0;
    double whole = __dsub_rn(__dadd_rn(__dmul_rn(x, LOG2_E), WHOLE), WHOLE);
    double rest = __dsub_rn(__dsub_rn(x, __dmul_rn(whole, LN_2_HIGH)), __dmul_rn(whole, LN_2_LOW));
    double sum = terms[0];
#pragma unroll
    for (int term = 1; term < 14; term++) sum = __dadd_rn(__dmul_rn(sum, rest), terms[term]);
    return __dmul_rn(sum, __longlong_as_double(((long long)whole + 1023) << 52));
}

// How likely a value is beside the largest. Two infinities are equal, though their difference is no number.
__device__ double share(float x, float largest, double temperature) {
    if (x == largest) return 1.0;
    return power(__ddiv_rn(__dsub_rn((double)x, (double)largest), temperature));
}

// A number from 0 on and below 1: the first draw of a seed at a position (`random.rs`).
__device__ double uniform(uint32_t low, uint32_t high, uint64_t position) {
    uint32_t c0 = (uint32_t)position, c1 = (uint32_t)(position >> 32), c2 = 0, c3 = 0;
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)c0 * 0xD2511F53u, b = (uint64_t)c2 * 0xCD9E8D57u;
        uint32_t next0 = (uint32_t)(b >> 32) ^ c1 ^ low, next2 = (uint32_t)(a >> 32) ^ c3 ^ high;
        c1 = (uint32_t)b, c3 = (uint32_t)a, c0 = next0, c2 = next2;
        low += 0x9E3779B9u, high += 0xBB67AE85u;
    }
    uint64_t bits = ((uint64_t)c1 << 32 | c0) >> 11;
    return __dmul_rn((double)bits, 0x1p-53);
}

struct Row {
    const float *values;
    double *shares;

    // Has the first thread see the shares of the first so many, in order, with their places, until `look` says that it has seen
    // enough. All threads come here.
    template <typename Look> __device__ void each(uint32_t count, double temperature, Look look) const {
        bool goes_on = true;
        for (uint32_t first = 0; first < count; first += blockDim.x) {
            uint32_t own = first + threadIdx.x, end = min(blockDim.x, count - first);
            __syncthreads();
            if (own < count) shares[threadIdx.x] = share(values[own], values[0], temperature);
            __syncthreads();
            if (threadIdx.x == 0) {
                for (uint32_t i = 0; i < end && goes_on; i++) goes_on = look(first + i, shares[i]);
            }
        }
    }
};

KERNEL sample(const float *values, const uint32_t *ids, const uint32_t *positions, const uint32_t *rules,
              const uint32_t *places, uint32_t *out, uint32_t k, uint32_t rule_count, uint32_t by_place) {
    begin();
    __shared__ double shares[THREADS];
    __shared__ uint32_t count;
    size_t at = blockIdx.x;
    uint32_t place = by_place ? places[at] : blockIdx.x;
    if (place >= rule_count) {
        if (threadIdx.x == 0) out[at] = NONE;
        return;
    }
    const uint32_t *rule = rules + (size_t)place * 6;
    double temperature = __uint_as_float(rule[3]), top_p = __uint_as_float(rule[4]);
    double least = fmax((double)__uint_as_float(rule[5]), 0x1p-1022);
    uint32_t kept = rule[2] == 0 ? k : min(rule[2], k);
    Row row = {values + at * k, shares};

    // Numbers are what comes before the first that is none.
    if (threadIdx.x == 0) count = kept;
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < kept; i += blockDim.x) {
        if (!(row.values[i] > -INFINITY)) {
            atomicMin(&count, i);
            break;
        }
    }
    __syncthreads();
    uint32_t numbers = count;

    // Candidates are numbers until enough came before, or until one is too unlikely or cannot be drawn at all.
    double sum = 0.0;
    auto add = [&](uint32_t, double share) {
        sum = __dadd_rn(sum, share);
        return true;
    };
    double wanted = INFINITY;
    if (top_p < 1.0) {
        row.each(numbers, 1.0, add);
        wanted = __dmul_rn(top_p, sum);
    }
    sum = 0.0;
    row.each(numbers, 1.0, [&](uint32_t i, double share) {
        if (i > 0 && (sum >= wanted || share < least)) {
            count = i;
            return false;
        }
        sum = __dadd_rn(sum, share);
        return true;
    });
    __syncthreads();
    uint32_t candidates = count, found = candidates - 1;
    if (candidates == 0 || !(temperature > 0.0)) {
        if (threadIdx.x == 0) out[at] = candidates == 0 ? NONE : ids[at * k];
        return;
    }

    sum = 0.0;
    row.each(candidates, temperature, add);
    double drawn = __dmul_rn(uniform(rule[0], rule[1], (uint64_t)positions[at] + 1), sum);
    sum = 0.0;
    row.each(candidates, temperature, [&](uint32_t i, double share) {
        sum = __dadd_rn(sum, share);
        if (sum > drawn) found = i;
        return sum <= drawn;
    });
    if (threadIdx.x == 0) out[at] = ids[at * k + found];
}
