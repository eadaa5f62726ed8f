// Formats whose blocks of 256 columns have one scale in f16, and a whole number for each 32 or 16 of them to multiply it by: products
// of whole numbers stay such until a block's pieces are added, which takes fewer steps than `take_apart` of `panels.cuh` does.

#pragma once

#include "panels.cuh"

__device__ __forceinline__ constexpr bool has_factors(int code) {
    return code == Q2_K || code == Q3_K || code == Q4_K || code == Q5_K || code == Q6_K || code == IQ4_XS;
}

// The factors of the scale and of the minimum, of the first and the last 16 columns, for each row that `sides` is of.
template <int W>
__device__ __forceinline__ void factors_of(int code, const Sides<W> &sides, int part, int (&scale)[2][W], int (&minimum)[2][W]) {
    const uint32_t *words = sides.words;
    auto byte = [](uint32_t numbers, int i) { return (int)(numbers >> (8 * i) & 255); };
    auto give = [&](int h, uint32_t scales, int zero) {
#pragma unroll
        for (int i = 0; i < W; i++) scale[h][i] = byte(scales, i) - zero;
    };
    if (code == Q4_K || code == Q5_K) {
        // Lanes of both kinds do the same.
        const bool first = part < 4;
        const int shift = first ? 0 : 2;
        const uint32_t own = first ? 0x3f3f3f3f : 0x30303030, lower = first ? 0 : 0x0f0f0f0f;
        give(0, (words[4] >> shift & own) | (words[6] & lower), 0);
        const uint32_t minimums = (words[5] >> shift & own) | (words[6] >> 4 & lower);
#pragma unroll
        for (int i = 0; i < W; i++) minimum[0][i] = byte(minimums, i);
        return;
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        switch (code) {
            case Q2_K:
                give(h, words[4 + h] & 0x0f0f0f0f, 0);
#pragma unroll
                for (int i = 0; i < W; i++) minimum[h][i] = byte(words[4 + h] >> 4 & 0x0f0f0f0f, i);
                break;
            case Q3_K:
                give(h, (words[2 + h] >> (part / 4 * 4) & 0x0f0f0f0f) | (words[4 + h] >> (part / 2 * 2) & 0x03030303) << 4, 32);
                break;
            case Q6_K:
#pragma unroll
                for (int i = 0; i < W; i++) scale[h][i] = (int8_t)(words[2 + h] >> (8 * i));
                break;
            case IQ4_XS:
                give(h, (words[2] >> (part % 2 * 4) & 0x0f0f0f0f) | (words[3] >> (part % 4 * 2) & 0x03030303) << 4, 32);
                break;
        }
    }
}
