// `append_*(x, positions, cache, own, capacity, ring, count, heads, width)`: a block puts the rows of one head at a few positions into the
// cache. Of equal slots only the last row is written, so that nobody waits for anybody; a position that the cache does not have is
// left out.

#include "../../tiles/cuda/cache.cuh"

// Positions of a block; `mod.rs` has the same.
#define POSITIONS 8

struct Rows {
    uint32_t first, used, head;
};

// The slots of a block's positions, in shared memory; `NOWHERE` for those that are not written.
#define NOWHERE 0xffffffffu

__device__ Rows find(const uint32_t *positions, uint32_t *slots, uint32_t capacity, uint32_t ring, uint32_t count,
                     uint32_t heads) {
    uint32_t first = blockIdx.x / heads * POSITIONS;
    Rows rows = {first, min(count - first, POSITIONS), blockIdx.x % heads};
    auto slot_of = [&](uint32_t i) {
        uint32_t position = positions[i];
        if (capacity == 0 || (!ring && position >= capacity)) return NOWHERE;
        return position % capacity;
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

template <class T, class Put>
__device__ void append(const float *x, const uint32_t *positions, T *cache, uint32_t own, uint32_t capacity,
                       uint32_t ring, uint32_t count, uint32_t heads, uint32_t width, Put put) {
    __shared__ uint32_t slots[POSITIONS];
    Rows rows = find(positions, slots, capacity, ring, count, heads);
    for (uint32_t at = threadIdx.x; at < rows.used * width; at += blockDim.x) {
        uint32_t k = at / width, column = at % width;
        if (slots[k] == NOWHERE) continue;
        float value = x[((size_t)(rows.first + k) * heads + rows.head) * width + column];
        cache[(size_t)rows.head * own + (size_t)slots[k] * width + column] = put(value);
    }
}

// As `append`, a warp for each block of elements.
template <class T, class Put>
__device__ void append_blocks(const float *x, const uint32_t *positions, uint8_t *cache, uint32_t own, uint32_t capacity,
                              uint32_t ring, uint32_t count, uint32_t heads, uint32_t width, Put put) {
    __shared__ uint32_t slots[POSITIONS];
    Rows rows = find(positions, slots, capacity, ring, count, heads);
    uint32_t blocks = width / BLOCK, lane = threadIdx.x % WARP;
    for (uint32_t at = threadIdx.x / WARP; at < rows.used * blocks; at += blockDim.x / WARP) {
        uint32_t k = at / blocks, block = at % blocks;
        if (slots[k] == NOWHERE) continue;
        float value = x[((size_t)(rows.first + k) * heads + rows.head) * width + block * BLOCK + lane];
        put(value, cache + ((size_t)rows.head * own + (size_t)slots[k] * blocks + block) * T::BYTES);
    }
}

#define ARGUMENTS(T)                                                                                               \
    const float *x, const uint32_t *positions, T *cache, uint32_t own, uint32_t capacity, uint32_t ring,           \
        uint32_t count, uint32_t heads, uint32_t width
#define GIVEN x, positions, cache, own, capacity, ring, count, heads, width

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
