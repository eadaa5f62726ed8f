// Products of a few rows of activations with rows of a weight as they lie: a warp makes those of one row of the weight, or
// of two where it is of a plain type.
//
// Which elements a lane adds up, and in which order, depends on the weight alone: a row of activations has the same
// product beside any others, wherever it lies.

#pragma once

#include "decode.cuh"

// Rows of activations that meet a row of the weight at a time.
#define TOGETHER 8
// Warps of a block, and rows of a plain type that a warp multiplies.
#define WARPS 4
#define PAIR 2

__device__ __forceinline__ uint32_t lane() { return threadIdx.x % WARP; }

__device__ __forceinline__ bool is_whole(const void *p) { return (reinterpret_cast<uintptr_t>(p) & 15) == 0; }

// Sixteen bytes that are read once.
__device__ __forceinline__ uint4 stream(const void *p) {
    uint4 words;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
        : "l"(p));
    return words;
}

// Elements of sixteen bytes.
__device__ __forceinline__ void widen(uint4 words, const float *, float (&w)[4]) {
    w[0] = __uint_as_float(words.x);
    w[1] = __uint_as_float(words.y);
    w[2] = __uint_as_float(words.z);
    w[3] = __uint_as_float(words.w);
}

__device__ __forceinline__ void widen(uint4 words, const __half *, float (&w)[8]) {
    uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        w[2 * i] = half_of(pairs[i] & 0xffff);
        w[2 * i + 1] = half_of(pairs[i] >> 16);
    }
}

__device__ __forceinline__ void widen(uint4 words, const __nv_bfloat16 *, float (&w)[8]) {
    uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        w[2 * i] = __uint_as_float(pairs[i] << 16);
        w[2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
    }
}

// Rows of activations: `count` of them, at most as many as there is room for sums.
struct Activations {
    const float *rows;
    uint32_t count, width;
};

// Adds the products of `EACH` elements of each row, which begin at `first` and of which `left` are there.
template <bool WHOLE, int EACH, int ROWS, int COUNT>
__device__ __forceinline__ void add_products(
    const float (&w)[ROWS][EACH], const Activations &x, uint32_t first, uint32_t left, float (&sums)[ROWS][COUNT]
) {
    const float *at = x.rows + first;
#pragma unroll
    for (int n = 0; n < COUNT; n++, at += x.width) {
        if (COUNT > 1 && n >= x.count) break;
        float v[EACH];
#pragma unroll
        for (int i = 0; i < EACH; i += 4) {
            if constexpr (WHOLE) {
                float4 four = *reinterpret_cast<const float4 *>(at + i);
                v[i] = four.x, v[i + 1] = four.y, v[i + 2] = four.z, v[i + 3] = four.w;
            } else {
#pragma unroll
                for (int j = i; j < i + 4; j++) v[j] = j < left ? at[j] : 0.0f;
            }
        }
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
#pragma unroll
            for (int i = 0; i < EACH; i++) sums[row][n] = fmaf(w[row][i], v[i], sums[row][n]);
        }
    }
}

// A lane's part of the products with rows of a plain type, each of which `SPLIT` warps share. All rows are `WHOLE`: they
// begin at multiples of 16 bytes and are as long; or any of them is not.
template <bool WHOLE, int SPLIT, class T, int COUNT>
__device__ __forceinline__ void plain_products(
    const T *const (&rows)[PAIR], const Activations &x, float (&sums)[PAIR][COUNT]
) {
    constexpr int EACH = 16 / sizeof(T), AHEAD = COUNT > 1 ? 1 : 4;
    constexpr uint32_t STEP = SPLIT * WARP * EACH;
    uint32_t first = threadIdx.x % (SPLIT * WARP) * EACH;
    if constexpr (WHOLE) {
        for (uint32_t steps = x.width / (AHEAD * STEP); steps > 0; steps--) {
            uint4 words[AHEAD][PAIR];
#pragma unroll
            for (int ahead = 0; ahead < AHEAD; ahead++) {
#pragma unroll
                for (int row = 0; row < PAIR; row++) words[ahead][row] = stream(rows[row] + first + ahead * STEP);
            }
#pragma unroll
            for (int ahead = 0; ahead < AHEAD; ahead++) {
                float w[PAIR][EACH];
#pragma unroll
                for (int row = 0; row < PAIR; row++) widen(words[ahead][row], rows[row], w[row]);
                add_products<true>(w, x, first + ahead * STEP, EACH, sums);
            }
            first += AHEAD * STEP;
        }
        for (; first < x.width; first += STEP) {
            float w[PAIR][EACH];
#pragma unroll
            for (int row = 0; row < PAIR; row++) widen(stream(rows[row] + first), rows[row], w[row]);
            add_products<true>(w, x, first, EACH, sums);
        }
    } else {
        for (; first < x.width; first += STEP) {
            uint32_t left = x.width - first;
            float w[PAIR][EACH];
#pragma unroll
            for (int row = 0; row < PAIR; row++) {
#pragma unroll
                for (int i = 0; i < EACH; i++) w[row][i] = i < left ? element(rows[row] + first + i) : 0.0f;
            }
            add_products<false>(w, x, first, left, sums);
        }
    }
}

// A lane's part of the products with a row of blocks, whose width is a multiple of eight. Whether rows of activations are
// `whole` says if they begin at multiples of 16 bytes.
template <int COUNT>
__device__ __forceinline__ void block_products(
    Type type, const uint8_t *row, const Activations &x, bool whole, float (&sums)[1][COUNT]
) {
    for (uint32_t first = 8 * lane(); first < x.width; first += 8 * WARP) {
        float w[1][8];
        decode(type, row, first, x.width, w[0]);
        if (whole) {
            add_products<true>(w, x, first, 8, sums);
        } else {
            add_products<false>(w, x, first, 8, sums);
        }
    }
}
