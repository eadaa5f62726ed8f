// `argmax(x, out, width)`: a block owns a row. What is not a number compares with nothing, so it is never the largest.

#include "../../tiles/cuda/begin.cuh"

#define NOWHERE 0xffffffffu
// Pieces of a row that a thread has under way at once.
#define AT_ONCE 8

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
        const float4 none = make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
        for (uint32_t first = threadIdx.x; first < width / 4; first += AT_ONCE * blockDim.x) {
            float4 fours[AT_ONCE];
#pragma unroll
            for (uint32_t j = 0; j < AT_ONCE; j++) {
                uint32_t i = first + j * blockDim.x;
                fours[j] = i < width / 4 ? ((const float4 *)x)[i] : none;
            }
#pragma unroll
            for (uint32_t j = 0; j < AT_ONCE; j++) {
                uint32_t at = 4 * (first + j * blockDim.x);
                meet(fours[j].x, at);
                meet(fours[j].y, at + 1);
                meet(fours[j].z, at + 2);
                meet(fours[j].w, at + 3);
            }
        }
    } else {
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
