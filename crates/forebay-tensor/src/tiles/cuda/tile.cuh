// Products of many rows of activations with rows of a weight as they lie: a block of 256 threads makes those of 64 rows
// with 64, and both go through shared memory, the weight decoded.

#pragma once

#include "rows.cuh"

// Rows of either side of a tile, and elements of them that are there at a time.
#define SIDE 64
#define DEEP 32

// What a block keeps of both sides, element by element; the room at the end of a line spreads them over the banks.
struct __align__(16) Sides {
    float weight[DEEP][SIDE + 4], x[DEEP][SIDE + 4];
};

// Puts eight elements of a row in their place.
__device__ __forceinline__ void put(float (&side)[DEEP][SIDE + 4], uint32_t row, uint32_t first, const float (&eight)[8]) {
#pragma unroll
    for (int i = 0; i < 8; i++) side[first + i][row] = eight[i];
}

// The products of 64 rows of the weight with 64 rows of activations: of four with four in each thread, those of the weight
// from `threadIdx.x % 16 * 4` on and those of activations from `threadIdx.x / 16 * 4` on. `row` is the thread's row of the
// weight, and `x` its row of activations, numbers `threadIdx.x / 4`; null where there is none. All threads come here.
__device__ __forceinline__ void multiply_tile(
    Sides &sides, Type type, const uint8_t *row, const float *x, uint32_t width, float (&sums)[4][4]
) {
    uint32_t own = threadIdx.x / 4, part = threadIdx.x % 4 * 8;
    uint32_t of_weight = threadIdx.x % 16 * 4, of_x = threadIdx.x / 16 * 4;
    for (uint32_t begin = 0; begin < width; begin += DEEP) {
        uint32_t first = begin + part;
        float w[8] = {}, v[8] = {};
        if (row && first < width) decode(type, row, first, width, w);
        if (x && first < width) {
#pragma unroll
            for (int i = 0; i < 8; i++) v[i] = i < width - first ? __ldg(x + first + i) : 0.0f;
        }
        __syncthreads();
        put(sides.weight, own, part, w);
        put(sides.x, own, part, v);
        __syncthreads();
#pragma unroll 8
        for (int i = 0; i < DEEP; i++) {
            float4 a = *reinterpret_cast<const float4 *>(&sides.x[i][of_x]);
            float4 b = *reinterpret_cast<const float4 *>(&sides.weight[i][of_weight]);
            float four[4] = {a.x, a.y, a.z, a.w}, with[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
            for (int n = 0; n < 4; n++) {
#pragma unroll
                for (int m = 0; m < 4; m++) sums[n][m] = fmaf(four[n], with[m], sums[n][m]);
            }
        }
    }
}
