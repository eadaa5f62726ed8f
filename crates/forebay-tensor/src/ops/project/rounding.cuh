// Rows as tensor cores multiply them: 32 elements at a time, rounded to bytes.
//
// One row is rounded by every block that multiplies it, into its shared memory. A few rows are rounded once, by a kernel in front, into
// a room that blocks copy from. Next: `stages.cuh`, which multiplies them.

#pragma once

#include "../../tiles/cuda/panels.cuh"

// Times 32 columns of a stage.
#define STAGE 8

// 32 elements of the row: four by four the codes of the first and the last 16, as a lane wants them. `dsum` is `d` times the sum of
// all codes, `sums` are those of each half.
struct __align__(16) Piece {
    int2 codes[4];
    float d, dsum;
    int sums[2];
};

// Where a stage of a few rows has which bytes: for each piece, for each row, what goes with codes that have one scale; then so the codes;
// then what goes with codes whose halves have scales of their own. A kernel copies the codes and what its format wants of the others.
#define BESIDE_BYTES 8
#define CODE_BYTES 32
#define COPIED_BYTES (STAGE * (BESIDE_BYTES + CODE_BYTES))
#define STAGE_BYTES (STAGE * (2 * BESIDE_BYTES + CODE_BYTES))

// Rows whose squares are summed over as many columns by a warp.
#define SQUARES 128

// Four elements from `i` on, which lie on a multiple of 16 bytes if they are `WHOLE`.
template <bool WHOLE> __device__ __forceinline__ float4 four_of(const float *x, uint32_t i) {
    if constexpr (WHOLE) return *(const float4 *)(x + i);
    else return make_float4(x[i], x[i + 1], x[i + 2], x[i + 3]);
}

// Four numbers rounded to nearest, held within a byte each; what is not a number becomes zero.
__device__ __forceinline__ uint32_t bytes_of(float4 x) {
    uint32_t bytes;
    asm("cvt.pack.sat.s8.s32.b32 %0, %1, %2, 0;" : "=r"(bytes) : "r"(__float2int_rn(x.w)), "r"(__float2int_rn(x.z)));
    asm("cvt.pack.sat.s8.s32.b32 %0, %1, %2, %0;" : "+r"(bytes) : "r"(__float2int_rn(x.y)), "r"(__float2int_rn(x.x)));
    return bytes;
}

// Four rounded elements of 32: their codes, and of all 32 the scale and the sums of the codes of the lane's half and of the other.
struct Four {
    uint32_t codes;
    float d;
    int half, other;
};

// Rounds four elements of the 32 that 8 lanes have, as `quant::rounded` does but for the last bit of a scale.
__device__ __forceinline__ Four round_four(float4 x) {
    Four four;
    // What is not a number is passed over.
    float most = fmaxf(fmaxf(fabsf(x.x), fabsf(x.y)), fmaxf(fabsf(x.z), fabsf(x.w)));
#pragma unroll
    for (int distance = 4; distance > 0; distance /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, distance));
    float inverse = most == 0.0f || isinf(most) ? 0.0f : __fdividef(127.0f, most);
    four.d = most * (1.0f / 127.0f);
    four.codes = bytes_of(make_float4(x.x * inverse, x.y * inverse, x.z * inverse, x.w * inverse));
    four.half = __dp4a((int)four.codes, 0x01010101, 0);
    four.half += __shfl_xor_sync(~0u, four.half, 1);
    four.half += __shfl_xor_sync(~0u, four.half, 2);
    four.other = __shfl_xor_sync(~0u, four.half, 4);
    return four;
}

// Where four codes of a lane lie among the words of their piece.
__device__ __forceinline__ uint32_t word_of(uint32_t lane) { return lane % 4 * 2 + lane / 4; }

__device__ __forceinline__ float4 times(float4 a, float4 b) {
    return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}

__device__ __forceinline__ float square_sum(float4 x) { return x.x * x.x + x.y * x.y + (x.z * x.z + x.w * x.w); }

// Makes pieces of the row, times `norm` where there is one; the sum of this thread's squares before that. Waits for other kernels
// before it reads `x`, and not before it reads what there is of `norm` at first.
template <bool WHOLE>
__device__ __forceinline__ float round_row(const float *x, const float *norm, uint32_t width, Piece *pieces) {
    constexpr int HELD = 4;
    const float4 zeros = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    const uint32_t end = (width + 127) / 128 * 128, step = 4 * blockDim.x, lane = threadIdx.x % 8;
    float squares = 0.0f;
    float4 weights[HELD];
    auto weigh = [&](uint32_t begin) {
#pragma unroll
        for (int j = 0; j < HELD; j++) {
            if (norm && begin + j * step < width) weights[j] = four_of<WHOLE>(norm, begin + j * step);
        }
    };
    weigh(4 * threadIdx.x);
    wait_for_others();
    // Lanes behind the row stay, so that a warp is whole.
    for (uint32_t begin = 4 * threadIdx.x; begin < end; begin += HELD * step) {
        float4 own[HELD];
#pragma unroll
        for (int j = 0; j < HELD; j++) own[j] = begin + j * step < width ? four_of<WHOLE>(x, begin + j * step) : zeros;
#pragma unroll
        for (int j = 0; j < HELD; j++) {
            uint32_t i = begin + j * step;
            if (i >= end) break;
            float4 four = own[j];
            if (norm) {
                squares += square_sum(four);
                if (i < width) four = times(four, weights[j]);
            }
            const Four rounded = round_four(four);
            if (i >= width) continue;
            Piece &piece = pieces[i / COLUMNS];
            ((int *)piece.codes)[word_of(lane)] = rounded.codes;
            if (lane == 0) {
                float dsum = rounded.d * (float)(rounded.half + rounded.other);
                *(float4 *)&piece.d =
                    make_float4(rounded.d, dsum, __int_as_float(rounded.half), __int_as_float(rounded.other));
            }
        }
        weigh(begin + HELD * step);
    }
    return squares;
}

// Rounds 128 columns from `begin` on of one of `columns` rows into a room, behind which are squares. A warp has them; `there` is
// whether there is such a row, and if not it is one of zeros.
template <bool WHOLE>
__device__ __forceinline__ void round_into(
    const float *x, const float *norm, uint8_t *room, uint32_t width, uint32_t columns, uint32_t row, bool there, uint32_t begin
) {
    const uint32_t lane = threadIdx.x % WARP, i = begin + 4 * lane, stages = (width + STAGE * COLUMNS - 1) / (STAGE * COLUMNS);
    float4 four = make_float4(0.0f, 0.0f, 0.0f, 0.0f), weight = four;
    if (norm && i < width) weight = four_of<WHOLE>(norm, i);
    wait_for_others();
    if (there && i < width) four = four_of<WHOLE>(x + (size_t)row * width, i);
    if (norm) {
        float squares = warp_sum(square_sum(four));
        float *all = (float *)(room + (size_t)stages * STAGE_BYTES * columns);
        if (lane == 0) all[row * ((width + SQUARES - 1) / SQUARES) + begin / SQUARES] = squares;
        four = times(four, weight);
    }
    const Four rounded = round_four(four);
    if (i >= width) return;
    const uint32_t stage = i / COLUMNS / STAGE, piece = i / COLUMNS % STAGE, number = piece * columns + row;
    uint8_t *plain = room + (size_t)stage * STAGE_BYTES * columns, *codes = plain + STAGE * BESIDE_BYTES * columns;
    ((uint32_t *)(codes + number * CODE_BYTES))[word_of(lane % 8)] = rounded.codes;
    if (lane % 8 == 0) {
        const int sum = rounded.half + rounded.other;
        const uint32_t both = (rounded.half & 0xffff) | (uint32_t)rounded.other << 16;
        ((float2 *)plain)[number] = make_float2(rounded.d, rounded.d * (float)sum);
        ((float2 *)(codes + STAGE * CODE_BYTES * columns))[number] = make_float2(rounded.d, __uint_as_float(both));
    }
}
