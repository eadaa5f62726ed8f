// `append_*(x, positions, cache, own, capacity, ring, count, heads, width, places, caches)`: a block puts the rows of one head at a few
// positions into the cache, or each into that of its place. Of equal slots only the last row is written, so that nobody waits for
// anybody; a position or a place that is not there is left out. Slots of all caches are numbered in a row.

#include "../../tiles/cuda/cache.cuh"

// Positions of a block; `mod.rs` has the same.
#define POSITIONS 8

struct Rows {
    uint32_t first, used, head;
};

// The slots of a block's positions, in shared memory; `NOWHERE` for those that are not written.
#define NOWHERE 0xffffffffu

__device__ Rows find(const uint32_t *positions, uint32_t *slots, uint32_t capacity, uint32_t ring, uint32_t count,
                     uint32_t heads, const uint32_t *places, uint32_t caches) {
    uint32_t first = blockIdx.x / heads * POSITIONS;
    Rows rows = {first, min(count - first, POSITIONS), blockIdx.x % heads};
    auto slot_of = [&](uint32_t i) {
        uint32_t position = positions[i], place = places ? places[i] : 0;
        if (capacity == 0 || (!ring && position >= capacity) || place >= caches) return NOWHERE;
        return place * capacity + position % capacity;
    };
    __shared__ uint32_t later[POSITIONS];
    if (threadIdx.x < POSITIONS) {
        later[threadIdx.x] = 0;
        slots[threadIdx.x] = threadIdx.x < rows.used ? slot_of(first + threadIdx.x) : NOWHERE;
    }
    __syncthreads();
    for (uint32_t i = first + 1 + threadIdx.x; i < count; i += blockDim.x) {
        uint32_t slot = slot_of(i);
        for (uint32_t k = 0; k < POSITIONS; k++) {
            if (i > first + k && slot == slots[k]) later[k] = 1;
        }
    }
    __syncthreads();
    if (threadIdx.x < POSITIONS && later[threadIdx.x]) slots[threadIdx.x] = NOWHERE;
    __syncthreads();
    return rows;
}

#define ARGUMENTS(T)                                                                                               \
    const float *x, const uint32_t *positions, T *cache, uint32_t own, uint32_t capacity, uint32_t ring,           \
        uint32_t count, uint32_t heads, uint32_t width, const uint32_t *places, uint32_t caches
#define GIVEN x, positions, cache, own, capacity, ring, count, heads, width, places, caches

// Where a row of the cache of a head begins, in its units.
__device__ __forceinline__ size_t row_at(uint32_t slot, uint32_t head, uint32_t heads, uint32_t own, uint32_t capacity,
                                         uint32_t units) {
    return ((size_t)(slot / capacity) * heads + head) * own + (size_t)(slot % capacity) * units;
}

template <class T, class Put> __device__ void append(ARGUMENTS(T), Put put) {
    __shared__ uint32_t slots[POSITIONS];
    Rows rows = find(positions, slots, capacity, ring, count, heads, places, caches);
    for (uint32_t at = threadIdx.x; at < rows.used * width; at += blockDim.x) {
        uint32_t k = at / width, column = at % width;
        if (slots[k] == NOWHERE) continue;
        float value = x[((size_t)(rows.first + k) * heads + rows.head) * width + column];
        cache[row_at(slots[k], rows.head, heads, own, capacity, width) + column] = put(value);
    }
}

// As `append`, a warp for each block of elements.
template <class T, class Put> __device__ void append_blocks(ARGUMENTS(uint8_t), Put put) {
    __shared__ uint32_t slots[POSITIONS];
    Rows rows = find(positions, slots, capacity, ring, count, heads, places, caches);
    uint32_t blocks = width / BLOCK, lane = threadIdx.x % WARP;
    for (uint32_t at = threadIdx.x / WARP; at < rows.used * blocks; at += blockDim.x / WARP) {
        uint32_t k = at / blocks, block = at % blocks;
        if (slots[k] == NOWHERE) continue;
        float value = x[((size_t)(rows.first + k) * heads + rows.head) * width + block * BLOCK + lane];
        put(value, cache + (row_at(slots[k], rows.head, heads, own, capacity, blocks) + block) * T::BYTES);
    }
}

KERNEL append_f32(ARGUMENTS(float)) {
    begin();
    append<float>(GIVEN, [](float x) { return x; });
}

KERNEL append_f16(ARGUMENTS(__half)) {
    begin();
    append<__half>(GIVEN, [](float x) { return __float2half_rn(x); });
}

KERNEL append_bf16(ARGUMENTS(__nv_bfloat16)) {
    begin();
    append<__nv_bfloat16>(GIVEN, [](float x) { return __float2bfloat16_rn(x); });
}

KERNEL append_q8_0(ARGUMENTS(uint8_t)) {
    begin();
    append_blocks<Q8_0>(GIVEN, [](float x, uint8_t *block) { round_q8_0(x, block); });
}

KERNEL append_q4_0(ARGUMENTS(uint8_t)) {
    begin();
    append_blocks<Q4_0>(GIVEN, [](float x, uint8_t *block) { round_q4_0(x, block); });
}
