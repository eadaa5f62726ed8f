// The order of elements from the largest down, and sorts by it: by one block in shared memory, and step by step over memory.
//
// An element's key is its rank above its column, so that no two keys of a row are equal and there is one right result.
// What steps a long row takes, and in which launches, says `order.rs` beside this.

#pragma once

#include "begin.cuh"

// Keys that a block sorts at once. `order.rs` has the same number.
#define TILE 4096u
// Comes after all keys.
#define NO_KEY (~(uint64_t)0)

// What a launch does. `order.rs` has the same numbers.
enum Step {
    // Sorts each tile of all columns.
    COLUMNS = 0,
    // Sorts each tile of the ids that are there.
    IDS = 1,
    // Exchanges ids that mirror each other in runs of twice the distance.
    MIRRORED = 2,
    // Exchanges ids that are so far apart.
    STRAIGHT = 3,
    // Exchanges ids that are half a tile apart, then half of that, and so on down to neighbours.
    FINISH = 4,
    // Looks for the largest elements.
    CHOOSE = 5,
};

// Smaller for what comes first; the same for both zeros, and the largest for what is not a number.
__device__ __forceinline__ uint32_t rank_of(float x) {
    if (x != x) return ~0u;
    uint32_t bits = x == 0.0f ? 0 : __float_as_uint(x);
    return bits >> 31 ? bits : ~bits & 0x7fffffffu;
}

__device__ __forceinline__ uint64_t key_of(float x, uint32_t column) { return (uint64_t)rank_of(x) << 32 | column; }

__device__ __forceinline__ uint32_t column_of(uint64_t key) { return (uint32_t)key; }

// The least power of two that is not below a number, which is at most TILE.
__device__ __forceinline__ uint32_t power_of_two(uint32_t least) {
    uint32_t power = 1;
    while (power < least) power *= 2;
    return power;
}

// The lower place of a pair, whose places are `distance` apart, a power of two.
__device__ __forceinline__ uint32_t lower_place(uint32_t pair, uint32_t distance) {
    return (pair & ~(distance - 1)) * 2 + (pair & (distance - 1));
}

// Puts all pairs of keys in order, of which there are `size`, a power of two. All threads of the block come here.
__device__ void exchange(uint64_t *keys, uint32_t size, uint32_t distance, bool mirrored) {
    for (uint32_t pair = threadIdx.x; pair < size / 2; pair += blockDim.x) {
        uint32_t low = lower_place(pair, distance), high = low ^ (mirrored ? 2 * distance - 1 : distance);
        uint64_t a = keys[low], b = keys[high];
        if (b < a) {
            keys[low] = b;
            keys[high] = a;
        }
    }
    __syncthreads();
}

__device__ void exchange_from(uint64_t *keys, uint32_t size, uint32_t distance) {
    for (; distance > 0; distance /= 2) exchange(keys, size, distance, false);
}

// Sorts keys in shared memory, which all threads of the block see, and of which there are `size`, a power of two.
__device__ void sort_keys(uint64_t *keys, uint32_t size) {
    for (uint32_t distance = 1; distance < size; distance *= 2) {
        exchange(keys, size, distance, true);
        exchange_from(keys, size, distance / 2);
    }
}

// Writes the columns of `count` keys, and the elements unless there is no place for them.
__device__ void put(const uint64_t *keys, uint32_t count, const float *row, float *values, uint32_t *ids) {
    for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
        uint32_t column = column_of(keys[i]);
        ids[i] = column;
        if (values) values[i] = row[column];
    }
}

// A block's part of a step in sorting `length` ids of each row of `x` by what they stand for; there are `blocks` of them
// for a row. `keys` is shared memory of a tile. Places past the end count as if NO_KEY were there, which never moves.
__device__ void sort_step(const float *x, float *values, uint32_t *ids, uint32_t width, uint32_t length, uint32_t step,
                          uint32_t distance, uint32_t blocks, uint64_t *keys) {
    size_t row = blockIdx.x / blocks;
    uint32_t tile = blockIdx.x % blocks;
    x += row * width;
    ids += row * length;
    if (step == MIRRORED || step == STRAIGHT) {
        for (uint32_t i = threadIdx.x; i < TILE / 2; i += blockDim.x) {
            uint32_t low = lower_place(tile * (TILE / 2) + i, distance);
            uint32_t high = low ^ (step == MIRRORED ? 2 * distance - 1 : distance);
            if (high >= length) continue;
            uint32_t a = ids[low], b = ids[high];
            if (key_of(x[b], b) < key_of(x[a], a)) {
                ids[low] = b;
                ids[high] = a;
            }
        }
        return;
    }
    uint32_t first = tile * TILE, count = min(TILE, length - first), size = power_of_two(count);
    for (uint32_t i = threadIdx.x; i < size; i += blockDim.x) {
        uint32_t column = i >= count || step == COLUMNS ? first + i : ids[first + i];
        keys[i] = i < count ? key_of(x[column], column) : NO_KEY;
    }
    __syncthreads();
    if (step == FINISH) {
        exchange_from(keys, size, size / 2);
    } else {
        sort_keys(keys, size);
    }
    put(keys, count, x, values ? values + row * length + first : values, ids + first);
}
