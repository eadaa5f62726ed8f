// Products of many rows of activations with rows of a weight as they lie: tiles of both sides go through shared memory and
// meet in tensor cores, which sum in f32.
//
// Tensor cores take bf16, of which a float is two to within 2^-17 of its size: the nearest, and the nearest to what is left.
// Products of what is left with what is left are no part of the sum. A weight of bf16 is one such number, so that its
// products are as exact as the activations. A block has 256 threads, and its tile as many rows of either side.

#pragma once

#include "rows.cuh"

// Elements of rows that are there at a time, and their line in shared memory, whose end spreads lines over the banks.
#define DEEP 32
#define LINE 40
// Warps of a block along activations and along the weight.
#define ALONG_X 2
#define ALONG_WEIGHT 4

// Rows of one side of a tile, in two numbers.
template <int SIDE>
struct __align__(16) Side {
    uint16_t high[SIDE][LINE], low[SIDE][LINE];
};

template <int SIDE>
struct Stage {
    Side<SIDE> x, weight;
};

// Two neighbours as the nearest bf16, the first in the low half.
__device__ __forceinline__ uint32_t nearest(float first, float second) {
    __nv_bfloat162 both = __floats2bfloat162_rn(first, second);
    return (uint32_t)__bfloat16_as_ushort(both.x) | (uint32_t)__bfloat16_as_ushort(both.y) << 16;
}

// What the nearest leaves; of what is not finite it leaves nothing.
__device__ __forceinline__ float rest(float x, float nearest) {
    return fabsf(nearest) <= 3.4028234e38f ? x - nearest : 0.0f;
}

__device__ __forceinline__ void split(float first, float second, uint32_t &high, uint32_t &low) {
    high = nearest(first, second);
    low = nearest(
        rest(first, __uint_as_float(high << 16)), rest(second, __uint_as_float(high & 0xffff0000u))
    );
}

__device__ __forceinline__ void split_eight(const float (&v)[8], uint4 &high, uint4 &low) {
    split(v[0], v[1], high.x, low.x);
    split(v[2], v[3], high.y, low.y);
    split(v[4], v[5], high.z, low.z);
    split(v[6], v[7], high.w, low.w);
}

// Four matrices of eight rows of eight numbers; each lane names one of the 32 rows and gets two numbers of each matrix.
__device__ __forceinline__ void load_matrices(const uint16_t *row, uint32_t (&four)[4]) {
    uint32_t address = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(four[0]), "=r"(four[1]), "=r"(four[2]), "=r"(four[3])
                 : "r"(address)
                 : "memory");
}

// Adds the product of 16 rows of activations and 8 rows of the weight, 16 elements deep.
__device__ __forceinline__ void add_product(float (&sums)[4], const uint32_t (&x)[4], uint32_t first, uint32_t second) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(first), "r"(second));
}

__device__ __forceinline__ void zero(float (&v)[8]) {
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = 0.0f;
}

// Eight elements of a row of floats; past its end, and where there is no row, zeros.
__device__ __forceinline__ void load_x(const float *row, uint32_t first, uint32_t width, bool whole, float (&v)[8]) {
    if (!row || first >= width) {
        zero(v);
    } else if (whole && width - first >= 8) {
        float4 a = *reinterpret_cast<const float4 *>(row + first);
        float4 b = reinterpret_cast<const float4 *>(row + first)[1];
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    } else {
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = i < width - first ? row[first + i] : 0.0f;
    }
}

// Eight elements of a row of a weight, on their way to shared memory. Rows are `whole` where they begin at multiples of 16
// bytes and are as long; without a row, and past its end, there are zeros.
struct OfBf16 {
    static constexpr bool is_exact = true;
    uint4 words;

    __device__ __forceinline__ void load(Type, const uint8_t *row, uint32_t first, uint32_t width, bool whole) {
        words = make_uint4(0, 0, 0, 0);
        if (!row || first >= width) return;
        if (whole) {
            words = __ldg(reinterpret_cast<const uint4 *>(row + 2 * (size_t)first));
            return;
        }
        float w[8];
        uint4 nothing;
        decode_eight<Type::BF16>(row, first, width, w);
        split_eight(w, words, nothing);
    }

    __device__ __forceinline__ void put(uint16_t *high, uint16_t *) const { *reinterpret_cast<uint4 *>(high) = words; }
};

struct OfFloats {
    static constexpr bool is_exact = false;
    float w[8];

    __device__ __forceinline__ void put(uint16_t *high, uint16_t *low) const {
        uint4 first, second;
        split_eight(w, first, second);
        *reinterpret_cast<uint4 *>(high) = first;
        *reinterpret_cast<uint4 *>(low) = second;
    }
};

struct OfF32 : OfFloats {
    __device__ __forceinline__ void load(Type, const uint8_t *row, uint32_t first, uint32_t width, bool whole) {
        load_x(reinterpret_cast<const float *>(row), first, width, whole, w);
    }
};

struct OfF16 : OfFloats {
    __device__ __forceinline__ void load(Type, const uint8_t *row, uint32_t first, uint32_t width, bool whole) {
        if (!row || first >= width) {
            zero(w);
        } else if (whole) {
            widen(__ldg(reinterpret_cast<const uint4 *>(row + 2 * (size_t)first)), (const __half *)nullptr, w);
        } else {
            decode_eight<Type::F16>(row, first, width, w);
        }
    }
};

struct OfBlocks : OfFloats {
    __device__ __forceinline__ void load(Type type, const uint8_t *row, uint32_t first, uint32_t width, bool) {
        if (row && first < width) {
            decode(type, row, first, width, w);
        } else {
            zero(w);
        }
    }
};

// The rows of both sides of a tile, of which a thread brings an eighth part of every 64. A row of activations makes
// `takers` results one after another; which of them a tile makes is in `places`, or those from `first_place` on.
struct Tile {
    Type type;
    const uint8_t *weight;
    const float *x;
    uint32_t first_row, rows, width;
    const uint32_t *places;
    uint32_t first_place, count, takers;

    __device__ __forceinline__ uint32_t place(uint32_t i) const { return places ? places[i] : first_place + i; }

    __device__ __forceinline__ const uint8_t *row(uint32_t i) const {
        uint32_t row = first_row + i;
        return row < rows ? weight + row * row_bytes(type, width) : nullptr;
    }

    __device__ __forceinline__ const float *row_of_x(uint32_t i) const {
        return i < count ? x + (size_t)(place(i) / takers) * width : nullptr;
    }
};

// Rows and columns of products of a warp in matrices of 16 rows and 8 columns.
template <int SIDE>
struct Sums {
    static constexpr int DOWN = SIDE / ALONG_X / 16, ACROSS = SIDE / ALONG_WEIGHT / 8;
    float of[DOWN][ACROSS][4];
};

template <int SIDE, class Weight>
__device__ __forceinline__ void multiply_stage(const Stage<SIDE> &stage, Sums<SIDE> &sums) {
    constexpr int DOWN = Sums<SIDE>::DOWN, ACROSS = Sums<SIDE>::ACROSS;
    uint32_t warp = threadIdx.x / WARP;
    uint32_t first_of_x = warp % ALONG_X * (SIDE / ALONG_X) + lane() % 16, x_column = lane() / 16 * 8;
    uint32_t first_row = warp / ALONG_X * (SIDE / ALONG_WEIGHT) + lane() % 8 + lane() / 16 * 8;
    uint32_t column = lane() / 8 % 2 * 8;
#pragma unroll
    for (int k = 0; k < DEEP; k += 16) {
        uint32_t high[DOWN][4], low[DOWN][4], w[ACROSS / 2][4];
#pragma unroll
        for (int i = 0; i < DOWN; i++) {
            load_matrices(&stage.x.high[first_of_x + 16 * i][k + x_column], high[i]);
            load_matrices(&stage.x.low[first_of_x + 16 * i][k + x_column], low[i]);
        }
        auto add = [&](const uint32_t(&x)[DOWN][4]) {
#pragma unroll
            for (int i = 0; i < DOWN; i++) {
#pragma unroll
                for (int j = 0; j < ACROSS; j++) add_product(sums.of[i][j], x[i], w[j / 2][j % 2 * 2], w[j / 2][j % 2 * 2 + 1]);
            }
        };
        if constexpr (!Weight::is_exact) {
#pragma unroll
            for (int j = 0; j < ACROSS / 2; j++) load_matrices(&stage.weight.low[first_row + 16 * j][k + column], w[j]);
            add(high);
        }
#pragma unroll
        for (int j = 0; j < ACROSS / 2; j++) load_matrices(&stage.weight.high[first_row + 16 * j][k + column], w[j]);
        add(low);
        add(high);
    }
}

// Sums the products of a tile. All threads come here; `stages` are two, one multiplied while the other is filled.
template <int SIDE, class Weight>
__device__ __forceinline__ void multiply_tile(Stage<SIDE> *stages, const Tile &tile, Sums<SIDE> &sums) {
    constexpr int EIGHTS = SIDE * DEEP / 8 / 256;
    uint32_t part = threadIdx.x % 4 * 8;
    bool whole_x = is_whole(tile.x) && tile.width % 4 == 0, whole = is_whole(tile.weight) && tile.width % 8 == 0;
    const uint8_t *row[EIGHTS];
    const float *x[EIGHTS];
#pragma unroll
    for (int i = 0; i < EIGHTS; i++) {
        row[i] = tile.row(threadIdx.x / 4 + 64 * i);
        x[i] = tile.row_of_x(threadIdx.x / 4 + 64 * i);
    }
    Weight w[EIGHTS];
    float v[EIGHTS][8];
    auto load = [&](uint32_t begin) {
#pragma unroll
        for (int i = 0; i < EIGHTS; i++) {
            w[i].load(tile.type, row[i], begin + part, tile.width, whole);
            load_x(x[i], begin + part, tile.width, whole_x, v[i]);
        }
    };
    auto put = [&](Stage<SIDE> &stage) {
#pragma unroll
        for (int i = 0; i < EIGHTS; i++) {
            uint32_t own = threadIdx.x / 4 + 64 * i;
            uint4 high, low;
            split_eight(v[i], high, low);
            *reinterpret_cast<uint4 *>(&stage.x.high[own][part]) = high;
            *reinterpret_cast<uint4 *>(&stage.x.low[own][part]) = low;
            w[i].put(&stage.weight.high[own][part], &stage.weight.low[own][part]);
        }
    };
    uint32_t steps = (tile.width + DEEP - 1) / DEEP;
    for (uint32_t step = 0; step <= steps; step++) {
        if (step < steps) load(step * DEEP);
        if (step > 0) multiply_stage<SIDE, Weight>(stages[(step - 1) % 2], sums);
        if (step < steps) put(stages[step % 2]);
        __syncthreads();
    }
}

// Writes the products of a tile, with a bias for each row of the weight if there is one.
template <int SIDE>
__device__ __forceinline__ void keep_tile(float *out, const float *bias, const Tile &tile, const Sums<SIDE> &sums) {
    uint32_t warp = threadIdx.x / WARP;
    uint32_t down = warp % ALONG_X * (SIDE / ALONG_X) + lane() / 4;
    uint32_t across = tile.first_row + warp / ALONG_X * (SIDE / ALONG_WEIGHT) + lane() % 4 * 2;
#pragma unroll
    for (int i = 0; i < Sums<SIDE>::DOWN; i++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            uint32_t result = down + 16 * i + 8 * half;
            if (result >= tile.count) continue;
            float *row_of_out = out + (size_t)tile.place(result) * tile.rows;
#pragma unroll
            for (int j = 0; j < Sums<SIDE>::ACROSS; j++) {
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    uint32_t row = across + 8 * j + n;
                    if (row < tile.rows) row_of_out[row] = sums.of[i][j][2 * half + n] + (bias ? bias[row] : 0.0f);
                }
            }
        }
    }
}
