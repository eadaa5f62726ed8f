// `argmax(x, out, width)`: a block owns a row. What is not a number compares with nothing, so it is never the largest.

#include "../../tiles/cuda/begin.cuh"

#define NOWHERE 0xffffffffu

// The better of two places: that of the larger element, and of equal ones the first.
__device__ __forceinline__ void better(float &most, uint32_t &place, float other, uint32_t at) {
    if (other > most || (other == most && at < place)) {
        most = other;
        place = at;
    }
}

__device__ __forceinline__ void best_of_warp(float &most, uint32_t &place) {
#pragma unroll
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        float other = __shfl_xor_sync(~0u, most, distance);
        uint32_t at = __shfl_xor_sync(~0u, place, distance);
        better(most, place, other, at);
    }
}

// The best of a block of whole warps, in its first warp; all threads must come here.
__device__ void best_of_block(float &most, uint32_t &place) {
    __shared__ float values[WARP];
    __shared__ uint32_t places[WARP];
    best_of_warp(most, place);
    __syncthreads();
    if (threadIdx.x % WARP == 0) {
        values[threadIdx.x / WARP] = most;
        places[threadIdx.x / WARP] = place;
    }
    __syncthreads();
    bool is_there = threadIdx.x < blockDim.x / WARP;
    if (threadIdx.x >= WARP) return;
    most = is_there ? values[threadIdx.x] : -INFINITY;
    place = is_there ? places[threadIdx.x] : NOWHERE;
    best_of_warp(most, place);
}

KERNEL argmax(const float *x, uint32_t *out, uint32_t width) {
    begin();
    x += (size_t)blockIdx.x * width;
    float most = -INFINITY;
    uint32_t place = NOWHERE;
    // A thread meets its elements in order, so that the first of equal ones stays.
    auto meet = [&](float element, uint32_t at) {
        if (element > most) {
            most = element;
            place = at;
        }
    };
    if ((uintptr_t)x % 16 == 0 && width % 4 == 0) {
#pragma unroll 4
        for (uint32_t i = threadIdx.x; i < width / 4; i += blockDim.x) {
            float4 four = ((const float4 *)x)[i];
            meet(four.x, 4 * i);
            meet(four.y, 4 * i + 1);
            meet(four.z, 4 * i + 2);
            meet(four.w, 4 * i + 3);
        }
    } else {
#pragma unroll 4
        for (size_t i = threadIdx.x; i < width; i += blockDim.x) meet(x[i], i);
    }
    best_of_block(most, place);
    __shared__ uint32_t found;
    if (threadIdx.x == 0) found = place;
    __syncthreads();
    if (found == NOWHERE) {
        // Nothing is above minus infinity: the first minus infinity it is, or the first element where there is no number.
        most = -INFINITY;
        place = NOWHERE;
        for (size_t i = threadIdx.x; i < width; i += blockDim.x) {
            if (x[i] == -INFINITY) place = min(place, (uint32_t)i);
        }
        best_of_block(most, place);
    }
    if (threadIdx.x == 0) out[blockIdx.x] = place == NOWHERE ? 0 : place;
}
