// `round(x, out, rest, blocks)`: a warp owns a block of 32 elements, a lane one of them. Where `rest` is not zero, what rounding
// took goes into the block so many blocks behind. The bits are those of `quant::rounded`, so nothing here may be fused.

#include "../../tiles/cuda/begin.cuh"

#define INFINITE 0x7f800000u

// The block of the elements of a warp, whose 16 words are written by 16 lanes; what rounding took from this lane's element.
__device__ float rounded(float x, uint32_t *out) {
    uint32_t lane = threadIdx.x % WARP;
    // Comparing bits orders magnitudes, puts infinity above all numbers, and lets not-a-number be told apart.
    uint32_t magnitude = __float_as_uint(x) & 0x7fffffffu;
    float d = __fdiv_rn(__uint_as_float(__reduce_max_sync(~0u, magnitude > INFINITE ? 0 : magnitude)), 127.0f);
    float inverse = d == 0.0f || __float_as_uint(d) == INFINITE ? 0.0f : __fdiv_rn(1.0f, d);
    float near = magnitude < INFINITE ? __fmul_rn(x, inverse) : 0.0f;
    // The inverse of the smallest scales is infinite, and zero times that is no number, whose code is zero.
    near = isnan(near) ? 0.0f : fminf(fmaxf(near, -127.0f), 127.0f);
    // A number this much larger has no bits left for fractions: the sum is rounded, and its low bits are the code.
    int32_t code = (int8_t)__float_as_uint(__fadd_rn(near, 12582912.0f));

    int32_t half = code;
#pragma unroll
    for (int distance = 8; distance > 0; distance /= 2) half += __shfl_xor_sync(~0u, half, distance);
    int32_t sums[2] = {__shfl_sync(~0u, half, 0), __shfl_sync(~0u, half, 16)};
    int32_t sum = sums[0] + sums[1];

    uint32_t codes = code & 255;
    codes |= __shfl_down_sync(~0u, codes, 1) << 8;
    codes |= __shfl_down_sync(~0u, codes, 2) << 16;
    uint32_t word = __shfl_sync(~0u, codes, lane * 4 % WARP);
    switch (lane) {
    case 8: word = __float_as_uint(d); break;
    case 9: word = sum; break;
    case 10: word = sums[0]; break;
    case 11: word = sums[1]; break;
    case 12: word = __float_as_uint(__fmul_rn(d, (float)sum)); break;
    case 13: word = __float_as_uint(__fmul_rn(d, (float)sums[0])); break;
    case 14: word = __float_as_uint(__fmul_rn(d, (float)sums[1])); break;
    case 15: word = 0; break;
    }
    if (lane < 16) out[lane] = word;
    return __fsub_rn(x, __fmul_rn(d, (float)code));
}

KERNEL round_rows(const float *x, uint32_t *out, uint32_t rest, uint32_t blocks) {
    begin();
    // All lanes of a warp have the same block, so that they stay or go together.
    uint32_t block = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (block >= blocks) return;
    float taken = rounded(x[(size_t)block * WARP + threadIdx.x % WARP], out + (size_t)block * 16);
    if (rest > 0) rounded(taken, out + ((size_t)block + rest) * 16);
}
