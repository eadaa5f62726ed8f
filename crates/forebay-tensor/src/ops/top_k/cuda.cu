// `top_k(x, values, ids, width, k, step, distance, blocks)`: a block chooses the largest of a row, and sorts them if they
// are few; many are sorted step by step, as `sort` does it.

#include "../../tiles/cuda/order.cuh"

// What a block knows together.
struct Shared {
    uint64_t keys[TILE];
    uint32_t count;
};

// A key that exactly `k` keys do not exceed, or else the least that no fewer do. `count(key)` says how many do not,
// the same to all threads; columns are below `width`.
template <typename Count> __device__ uint64_t bound_of(uint32_t k, uint32_t width, Count count) {
    uint64_t bound = 0;
    for (int bit = 63; bit >= 0; bit--) {
        uint64_t below = ((uint64_t)1 << bit) - 1;
        // All columns are below it, so that nothing is left to decide.
        if (bit < 32 && below + 1 >= width) continue;
        uint32_t found = count(bound | below);
        if (found == k) return bound | below;
        if (found < k) bound |= below + 1;
    }
    return bound;
}

// Loads of a thread that are on their way at the same time.
#define LOADS 8

// Hands `use(key)` the keys of this thread's columns, the first column first.
template <typename Use> __device__ void each_key(const float *row, uint32_t width, Use use) {
    for (size_t first = threadIdx.x; first < width; first += LOADS * blockDim.x) {
        float x[LOADS];
#pragma unroll
        for (uint32_t i = 0; i < LOADS; i++) {
            size_t column = first + i * blockDim.x;
            x[i] = column < width ? row[column] : 0.0f;
        }
#pragma unroll
        for (uint32_t i = 0; i < LOADS; i++) {
            size_t column = first + i * blockDim.x;
            if (column < width) use(key_of(x[i], column));
        }
    }
}

// The number of all threads together. All threads of the block come here.
__device__ uint32_t block_count(uint32_t own, uint32_t *room) {
    if (threadIdx.x == 0) *room = 0;
    __syncthreads();
    own = __reduce_add_sync(~0u, own);
    if (threadIdx.x % WARP == 0) atomicAdd(room, own);
    __syncthreads();
    uint32_t sum = *room;
    __syncthreads();
    return sum;
}

// The bound of a row, found by going through all of it for every bit.
__device__ uint64_t exact_bound(const float *row, uint32_t width, uint32_t k, uint32_t *room) {
    return bound_of(k, width, [=](uint64_t bound) {
        uint32_t own = 0;
        each_key(row, width, [&](uint64_t key) { own += key <= bound; });
        return block_count(own, room);
    });
}

// A bound that at least `k` keys of a row do not exceed, and seldom many more: that of the first key of each thread.
__device__ uint64_t quick_bound(const float *row, uint32_t width, uint32_t k) {
    uint64_t first = NO_KEY;
    each_key(row, width, [&](uint64_t key) { first = key < first ? key : first; });
    return bound_of(k, width, [=](uint64_t bound) { return (uint32_t)__syncthreads_count(first <= bound); });
}

// Hands every key up to a bound to `take(place, key)`, each with a place of its own; gives back how many there are.
template <typename Take>
__device__ uint32_t collect(const float *row, uint32_t width, uint64_t bound, uint32_t *room, Take take) {
    if (threadIdx.x == 0) *room = 0;
    __syncthreads();
    each_key(row, width, [&](uint64_t key) {
        if (key <= bound) take(atomicAdd(room, 1), key);
    });
    __syncthreads();
    uint32_t count = *room;
    __syncthreads();
    return count;
}

// Chooses for a row of its own; `k` is not 0 and at most `width`. More than a tile are left as they were found.
__device__ void choose(const float *row, float *values, uint32_t *ids, uint32_t width, uint32_t k, Shared *shared) {
    uint32_t *room = &shared->count;
    if (k > TILE) {
        collect(row, width, exact_bound(row, width, k, room), room, [=](uint32_t place, uint64_t key) {
            if (place < k) ids[place] = column_of(key);
        });
        return;
    }
    uint64_t *keys = shared->keys;
    auto take = [=](uint32_t place, uint64_t key) {
        if (place < TILE) keys[place] = key;
    };
    uint32_t count = collect(row, width, quick_bound(row, width, k), room, take);
    if (count > TILE) count = collect(row, width, exact_bound(row, width, k, room), room, take);
    uint32_t size = power_of_two(count);
    for (uint32_t i = count + threadIdx.x; i < size; i += blockDim.x) keys[i] = NO_KEY;
    __syncthreads();
    sort_keys(keys, size);
    put(keys, k, row, values, ids);
}

KERNEL top_k(const float *x, float *values, uint32_t *ids, uint32_t width, uint32_t k, uint32_t step, uint32_t distance,
             uint32_t blocks) {
    begin();
    __shared__ Shared shared;
    if (k == 0) return;
    if (step == CHOOSE) {
        size_t row = blockIdx.x;
        choose(x + row * width, values + row * k, ids + row * k, width, k, &shared);
    } else {
        sort_step(x, values, ids, width, k, step, distance, blocks, shared.keys);
    }
}
