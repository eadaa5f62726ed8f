// Types of caches: how elements of rows become f32, and how a row comes from f32.
//
// Rows lie at any multiple of two bytes, those of blocks of 34 and 18 bytes always do. Rounding is that of `quant/activation.rs`, to the
// bit, so nothing in it may be fused.

#pragma once

#include "begin.cuh"

#define BLOCK 32

__device__ __forceinline__ float half_at(const uint8_t *at) {
    return __half2float(__ushort_as_half(*(const uint16_t *)at));
}

// Each has the bytes and elements of a unit, and `pair`: elements `e`, which is even, and `e + 1`, or zero for the latter unless
// `both`. `even` says that rows begin at multiples of four bytes.
struct F32 {
    static constexpr uint32_t BYTES = 4, ELEMENTS = 1;

    static __device__ __forceinline__ float2 pair(const uint8_t *row, uint32_t e, bool both, bool) {
        const float *x = (const float *)row + e;
        return make_float2(x[0], both ? x[1] : 0.0f);
    }
};

struct F16 {
    static constexpr uint32_t BYTES = 2, ELEMENTS = 1;

    static __device__ __forceinline__ float2 pair(const uint8_t *row, uint32_t e, bool both, bool even) {
        const uint8_t *at = row + 2 * e;
        if (!both) return make_float2(half_at(at), 0.0f);
        if (!even) return make_float2(half_at(at), half_at(at + 2));
        uint32_t word = *(const uint32_t *)at;
        return make_float2(__half2float(__ushort_as_half(word & 0xffff)), __half2float(__ushort_as_half(word >> 16)));
    }
};

struct BF16 {
    static constexpr uint32_t BYTES = 2, ELEMENTS = 1;

    static __device__ __forceinline__ float2 pair(const uint8_t *row, uint32_t e, bool both, bool even) {
        const uint16_t *at = (const uint16_t *)row + e;
        uint32_t low = at[0], high = 0;
        if (both && even) {
            uint32_t word = *(const uint32_t *)at;
            low = word & 0xffff, high = word >> 16;
        } else if (both) {
            high = at[1];
        }
        return make_float2(__uint_as_float(low << 16), __uint_as_float(high << 16));
    }
};

struct Q8_0 {
    static constexpr uint32_t BYTES = 34, ELEMENTS = BLOCK;

    static __device__ __forceinline__ float2 pair(const uint8_t *row, uint32_t e, bool, bool) {
        const uint8_t *block = row + e / BLOCK * BYTES;
        uint32_t codes = *(const uint16_t *)(block + 2 + e % BLOCK);
        float scale = half_at(block);
        return make_float2(scale * (float)(int8_t)(codes & 0xff), scale * (float)(int8_t)(codes >> 8));
    }
};

struct Q4_0 {
    static constexpr uint32_t BYTES = 18, ELEMENTS = BLOCK;

    static __device__ __forceinline__ float2 pair(const uint8_t *row, uint32_t e, bool, bool) {
        const uint8_t *block = row + e / BLOCK * BYTES;
        uint32_t codes = *(const uint16_t *)(block + 2 + e % (BLOCK / 2)) >> (e % BLOCK < BLOCK / 2 ? 0 : 4);
        float scale = half_at(block);
        return make_float2(scale * ((float)(codes & 15) - 8.0f), scale * ((float)(codes >> 8 & 15) - 8.0f));
    }
};

// The element of a warp that is furthest from zero, the first of several; zero where there is no number but zero.
__device__ __forceinline__ float furthest(float x) {
    float size = isnan(x) ? 0.0f : fabsf(x);
    float most = warp_max(size);
    uint32_t first = __ffs(__ballot_sync(~0u, size == most)) - 1;
    float found = __shfl_sync(~0u, x, first);
    return most == 0.0f ? 0.0f : found;
}

__device__ __forceinline__ float inverse_of(float scale) { return scale == 0.0f ? 0.0f : 1.0f / scale; }

// Rounds a block, of which each lane of a warp has an element.
__device__ __forceinline__ void round_q8_0(float x, uint8_t *block) {
    uint32_t lane = threadIdx.x % WARP;
    float scale = fabsf(furthest(x)) / 127.0f;
    float code = roundf(__fmul_rn(x, inverse_of(scale)));
    code = isnan(code) ? 0.0f : fminf(fmaxf(code, -128.0f), 127.0f);
    block[2 + lane] = (uint8_t)(int8_t)(int)code;
    if (lane == 0) *(uint16_t *)block = __half_as_ushort(__float2half_rn(scale));
}

__device__ __forceinline__ void round_q4_0(float x, uint8_t *block) {
    uint32_t lane = threadIdx.x % WARP;
    float scale = furthest(x) / -8.0f;
    float code = __fadd_rn(__fmul_rn(x, inverse_of(scale)), 8.5f);
    uint32_t low = isnan(x) ? 8 : isnan(code) ? 0 : (uint32_t)fminf(fmaxf(code, 0.0f), 15.0f);
    uint32_t high = __shfl_down_sync(~0u, low, BLOCK / 2);
    if (lane < BLOCK / 2) block[2 + lane] = (uint8_t)(low | high << 4);
    if (lane == 0) *(uint16_t *)block = __half_as_ushort(__float2half_rn(scale));
}
