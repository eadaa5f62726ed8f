// A walk of a block along a row. A thread has four elements under way at once: one after another each would wait for memory.

#pragma once

#include "begin.cuh"

// Calls `meet(i, x[i])` for the elements of a row that are this thread's, in order; `meet` may change the row there.
template <class F>
__device__ __forceinline__ void walk(const float *x, uint32_t width, F meet) {
    for (size_t first = threadIdx.x; first < width; first += 4 * (size_t)blockDim.x) {
        float four[4];
#pragma unroll
        for (uint32_t j = 0; j < 4; j++) {
            size_t i = first + j * blockDim.x;
            four[j] = i < width ? x[i] : 0.0f;
        }
#pragma unroll
        for (uint32_t j = 0; j < 4; j++) {
            size_t i = first + j * blockDim.x;
            if (i < width) meet(i, four[j]);
        }
    }
}
