// Which positions a position sees: the same words as in `mod.rs` and `cpu.rs`.

#pragma once

#include "../../tiles/cuda/begin.cuh"

// From `start` up to, but not with, `end`; what the cache does not hold is seen by nobody.
struct Seen {
    uint64_t start, end;
};

struct Sight {
    const uint32_t *positions;
    uint32_t count, capacity, after, length;
    // The largest position of the launch, where that matters.
    uint32_t largest;

    // All threads of a block must come here. `room` is in shared memory.
    __device__ Sight(const uint32_t *positions, uint32_t count, uint32_t capacity, uint32_t after, uint32_t length,
                     uint32_t *room)
        : positions(positions), count(count), capacity(capacity), after(after), length(length), largest(0) {
        if (!after && length == 0) return;
        uint32_t most = 0;
#pragma unroll 1
        for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) most = max(most, positions[i]);
        for (int distance = WARP / 2; distance > 0; distance /= 2) {
            most = max(most, __shfl_xor_sync(~0u, most, distance));
        }
        if (threadIdx.x % WARP == 0) room[threadIdx.x / WARP] = most;
        __syncthreads();
#pragma unroll 1
        for (uint32_t warp = 0; warp < blockDim.x / WARP; warp++) largest = max(largest, room[warp]);
        __syncthreads();
    }

    __device__ Seen seen(uint32_t i) const {
        uint64_t position = positions[i], last = position, start = 0;
        if (after) last = length ? min((uint64_t)largest, position + length - 1) : largest;
        if (length && position + 1 > length) start = position + 1 - length;
        bool fits = length || last < capacity;
        bool held = largest < start + capacity;
        return fits && held ? Seen{start, last + 1} : Seen{0, 0};
    }

    // All that these see; at most as many positions as the cache has.
    __device__ Seen range(uint32_t from, uint32_t to) const {
        Seen all = {~0ull, 0};
#pragma unroll 1
        for (uint32_t i = from; i < to; i++) {
            Seen one = seen(i);
            if (one.start < one.end) all = {min(all.start, one.start), max(all.end, one.end)};
        }
        return all.start < all.end ? all : Seen{0, 0};
    }
};

// The softmax so far of a row: the largest score, the sum of weights, and what a score weighs.
__device__ __forceinline__ float weight_of(float score, float most) {
    return score == -INFINITY ? 0.0f : expf(score - most);
}

__device__ __forceinline__ float fade_of(float before, float most) { return before == most ? 1.0f : expf(before - most); }

// Gives a row's sum of values its last factor: one over the sum of weights, in which a sink takes part.
__device__ __forceinline__ float last_factor(float most, float sum, const float *sink) {
    if (!sink) return 1.0f / sum;
    float all = fmaxf(most, *sink), fade = fade_of(most, all);
    return fade / (sum * fade + weight_of(*sink, all));
}
