// `round(x, out, rest, blocks)`: eight lanes own a block of 32 elements, four each. Where `rest` is not zero, what rounding took goes into
// the block so many blocks behind. The bits are those of `quant::rounded`, so nothing here may be fused.

#include "../../tiles/cuda/each.cuh"

#define INFINITE 0x7f800000u
// Lanes of a block of elements.
#define LANES 8

// Rounds the four elements of this lane, and writes its two words of the block, where it is there; what rounding took from them.
__device__ float4 rounded(float4 x, uint32_t *out, bool there) {
    const uint32_t lane = threadIdx.x % LANES;
    const float own[4] = {x.x, x.y, x.z, x.w};
    // Comparing bits orders magnitudes, puts infinity above all numbers, and lets not-a-number be told apart.
    uint32_t most = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint32_t magnitude = __float_as_uint(own[i]) & 0x7fffffffu;
        most = max(most, magnitude > INFINITE ? 0 : magnitude);
    }
#pragma unroll
    for (int distance = LANES / 2; distance > 0; distance /= 2) most = max(most, __shfl_xor_sync(~0u, most, distance));
    float d = __fdiv_rn(__uint_as_float(most), 127.0f);
    float inverse = d == 0.0f || __float_as_uint(d) == INFINITE ? 0.0f : __fdiv_rn(1.0f, d);

    uint32_t codes = 0;
    float taken[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        bool finite = (__float_as_uint(own[i]) & 0x7fffffffu) < INFINITE;
        float near = finite ? __fmul_rn(own[i], inverse) : 0.0f;
        // The inverse of the smallest scales is infinite, and zero times that is no number, whose code is zero.
        near = isnan(near) ? 0.0f : fminf(fmaxf(near, -127.0f), 127.0f);
        // A number this much larger has no bits left for fractions: the sum is rounded, and its low bits are the code.
        int32_t code = (int8_t)__float_as_uint(__fadd_rn(near, 12582912.0f));
        codes |= (uint32_t)(code & 255) << (8 * i);
        taken[i] = __fsub_rn(own[i], __fmul_rn(d, (float)code));
    }

    int32_t half = __dp4a((int32_t)codes, 0x01010101, 0);
    half += __shfl_xor_sync(~0u, half, 1);
    half += __shfl_xor_sync(~0u, half, 2);
    int32_t other = __shfl_xor_sync(~0u, half, 4), sum = half + other;
    int32_t sums[2] = {lane < 4 ? half : other, lane < 4 ? other : half};
    uint32_t word = 0;
    switch (lane) {
    case 0: word = __float_as_uint(d); break;
    case 1: word = sum; break;
    case 2: word = sums[0]; break;
    case 3: word = sums[1]; break;
    case 4: word = __float_as_uint(__fmul_rn(d, (float)sum)); break;
    case 5: word = __float_as_uint(__fmul_rn(d, (float)sums[0])); break;
    case 6: word = __float_as_uint(__fmul_rn(d, (float)sums[1])); break;
    }
    if (there) out[lane] = codes, out[LANES + lane] = word;
    return make_float4(taken[0], taken[1], taken[2], taken[3]);
}

KERNEL round_rows(const float *x, uint32_t *out, uint32_t rest, uint32_t blocks) {
    begin();
    // Lanes behind the last block stay, so that a warp is whole.
    size_t block = own_four() / 32;
    bool there = block < blocks;
    float4 four = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (there && is_wide(x)) {
        four = *(const float4 *)(x + own_four());
    } else if (there) {
        x += own_four();
        four = make_float4(x[0], x[1], x[2], x[3]);
    }
    float4 taken = rounded(four, out + block * 16, there);
    if (rest > 0) rounded(taken, out + (block + rest) * 16, there);
}
