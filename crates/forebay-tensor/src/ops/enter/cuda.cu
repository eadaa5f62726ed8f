// `enter_*(q, k, v, q_norm, k_norm, angles, positions, keys, values, heads, groups, width, value_width, pairs, half_split, capacity, ring,
// q_epsilon, k_epsilon, places, caches, all)`: a block owns a head of one position, of queries, keys or values, of which there are `all`: it
// norms it, turns it, and puts it where it belongs. A position or a place that is not there is left out. Where a row of threads is a warp,
// each warp of a block owns a head.

#include "../../tiles/cuda/cache.cuh"

#define ARGUMENTS                                                                                                      \
    float *q, const float *k, const float *v, const float *q_norm, const float *k_norm, const float *angles,           \
        const uint32_t *positions, uint8_t *keys, uint8_t *values, uint32_t heads, uint32_t groups, uint32_t width,    \
        uint32_t value_width, uint32_t pairs, uint32_t half_split, uint32_t capacity, uint32_t ring, float q_epsilon,  \
        float k_epsilon, const uint32_t *places, uint32_t caches, uint32_t all
#define GIVEN                                                                                                          \
    q, k, v, q_norm, k_norm, angles, positions, keys, values, heads, groups, width, value_width, pairs, half_split,    \
        capacity, ring, q_epsilon, k_epsilon, places, caches, all

// What all of them do, from their beginning on. `put` writes an element of a cache; those of 32 side by side are of one warp.
template <class Put> __device__ void enter(ARGUMENTS, Put put) {
    extern __shared__ float rows[];
    __shared__ float room[WARP];
    let_next_start();
    const bool by_warps = blockDim.x == WARP;
    const uint32_t number = blockIdx.x * blockDim.y + threadIdx.y;
    if (number >= all) return;
    auto meet = [&] {
        if (by_warps) __syncwarp();
        else __syncthreads();
    };
    float *row = rows + threadIdx.y * max(width, value_width);
    const uint32_t each = heads + 2 * groups, i = number / each, place_of_head = number % each;
    const bool is_query = place_of_head < heads, is_value = place_of_head >= heads + groups;
    const uint32_t head = is_query ? place_of_head : is_value ? place_of_head - heads - groups : place_of_head - heads;
    const uint32_t own = is_value ? value_width : width;
    const float *x = (is_query ? q : is_value ? v : k) + ((size_t)i * (is_query ? heads : groups) + head) * own;
    angles += (size_t)i * 2 * pairs;
    const float *norm = is_query ? q_norm : is_value ? nullptr : k_norm;
    // Nobody writes norms, so they come nearer while kernels in front end: a line of 32 for each thread.
    if (norm && WARP * threadIdx.x < own) asm volatile("prefetch.global.L2 [%0];" ::"l"(norm + WARP * threadIdx.x));
    wait_for_others();
    float squares = 0.0f;
    for (uint32_t e = threadIdx.x; e < own; e += blockDim.x) {
        float element = x[e];
        row[e] = element, squares += element * element;
    }
    if (norm) {
        squares = by_warps ? warp_sum(squares) : block_sum(squares, room);
        float scale = 1.0f / sqrtf(squares / own + (is_query ? q_epsilon : k_epsilon));
        for (uint32_t e = threadIdx.x; e < own; e += blockDim.x) row[e] = row[e] * scale * norm[e];
    }
    meet();
    if (!is_value) {
        for (uint32_t pair = threadIdx.x; pair < pairs; pair += blockDim.x) {
            uint32_t at = half_split ? pair : 2 * pair, other = half_split ? pair + pairs : at + 1;
            float cosine = angles[pair], sine = angles[pairs + pair], a = row[at], b = row[other];
            row[at] = a * cosine - b * sine, row[other] = a * sine + b * cosine;
        }
        meet();
    }
    if (is_query) {
        float *out = q + ((size_t)i * heads + head) * own;
        for (uint32_t e = threadIdx.x; e < own; e += blockDim.x) out[e] = row[e];
        return;
    }
    const uint32_t position = positions[i], place = places ? places[i] : 0;
    if (capacity == 0 || (!ring && position >= capacity) || place >= caches) return;
    const size_t first = (((size_t)place * groups + head) * capacity + position % capacity) * own;
    for (uint32_t e = threadIdx.x; e < own; e += blockDim.x) put(is_value ? values : keys, first + e, row[e]);
}

KERNEL enter_f32(ARGUMENTS) {
    enter(GIVEN, [](uint8_t *cache, size_t at, float x) { ((float *)cache)[at] = x; });
}

KERNEL enter_f16(ARGUMENTS) {
    enter(GIVEN, [](uint8_t *cache, size_t at, float x) { ((__half *)cache)[at] = __float2half_rn(x); });
}

KERNEL enter_bf16(ARGUMENTS) {
    enter(GIVEN, [](uint8_t *cache, size_t at, float x) { ((__nv_bfloat16 *)cache)[at] = __float2bfloat16_rn(x); });
}

// Widths are whole blocks of 32 elements, so that a warp has one.
KERNEL enter_q8_0(ARGUMENTS) {
    enter(GIVEN, [](uint8_t *cache, size_t at, float x) { round_q8_0(x, cache + at / BLOCK * Q8_0::BYTES); });
}

KERNEL enter_q4_0(ARGUMENTS) {
    enter(GIVEN, [](uint8_t *cache, size_t at, float x) { round_q4_0(x, cache + at / BLOCK * Q4_0::BYTES); });
}
