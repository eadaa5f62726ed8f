// `matmul_panels_many_*(weight, x, out, rows, how, width, count)`: products of panels with many rounded rows, on
// tensor cores.
//
// Codes and rounded rows become f16, sums are f32; rows are scaled down on the way, so that none leaves the range. A warp owns two panels; a word of a panel holds just what a lane of
// `mma` wants of its first operand, so that weights go from memory to registers and no further. Rows of `x` go through
// shared memory, 64 columns at a time, for all warps of the block. A block owns `32 * WARPS` rows of the weight and `NT` rows of
// `x`: those from `NT * blockIdx.x` on, and rows of the weight from `blockIdx.y` on.

#include "../../tiles/cuda/panels.cuh"
#include "../../tiles/cuda/rounded.cuh"

// Warps of a block, and panels of each; `tiles/cuda/panels.rs` knows these numbers.
#define WARPS 4
#define PANELS 2
// Times 32 columns that are multiplied between two barriers.
#define STEP 2
// Elements of a row in shared memory: 64, and as many more as keep lanes off each other's banks.
#define STRIDE 80

// What rows of `x` are scaled by: numbers up to a million stay finite.
#define DOWN 0.0625f
#define UP 16.0f

__device__ __forceinline__ uint32_t pair(float a, float b) {
    __half2 both = __floats2half2_rn(a, b);
    return *(uint32_t *)&both;
}

__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint2 b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
}

// Four values as two pairs of f16.
template <class F>
__device__ __forceinline__ uint2 values(F f, uint32_t quad, float scale, float minimum) {
    float v[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float value = is_unsigned(f.code()) ? byte_of(quad, i) : (float)(int8_t)(quad >> (8 * i));
        v[i] = (value - (float)zero_of(f.code())) * scale + (has_minimum(f.code()) ? minimum : 0.0f);
    }
    return make_uint2(pair(v[0], v[1]), pair(v[2], v[3]));
}

// A part of a rounded row on its way to shared memory.
struct Part {
    int4 codes[2];
    float d;
};

__device__ __forceinline__ Part load_part(const Rounded *x, uint32_t row, uint32_t count, uint32_t chunk, uint32_t chunks) {
    Part part = {};
    if (row < count && chunk < chunks) {
        const Rounded *block = x + (size_t)row * chunks + chunk;
        part.codes[0] = *(const int4 *)block->codes;
        part.codes[1] = ((const int4 *)block->codes)[1];
        part.d = block->d * DOWN;
    }
    return part;
}

__device__ __forceinline__ void store_part(const Part &part, __half *to) {
    const uint32_t *codes = (const uint32_t *)part.codes;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint32_t words[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            uint32_t quad = codes[2 * i + j / 2] >> (j % 2 * 16);
            words[j] = pair((float)(int8_t)quad * part.d, (float)(int8_t)(quad >> 8) * part.d);
        }
        *(uint4 *)(to + 8 * i) = make_uint4(words[0], words[1], words[2], words[3]);
    }
}

template <class F, int NT>
__device__ __forceinline__ void tile(
    F f, const uint8_t *weight, const Rounded *x, float *out, uint32_t rows, uint32_t width, uint32_t count
) {
    extern __shared__ __align__(16) __half shared[];
    constexpr int PARTS = NT * STEP / (WARPS * WARP);
    static_assert(PARTS * WARPS * WARP == NT * STEP, "every thread brings as many parts");
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane / 4, t = lane % 4;
    const uint32_t chunks = width / COLUMNS, panels = (rows + ROWS - 1) / ROWS, begin = NT * blockIdx.x;
    const int per_block = parts_of(f.code(), f.how);
    const uint32_t side_bytes = ROWS * side_bytes_of(f.code(), f.how);
    PanelPlace place[PANELS];
    uint32_t number[PANELS];
#pragma unroll
    for (int p = 0; p < PANELS; p++) {
        number[p] = (blockIdx.y * WARPS + warp) * PANELS + p;
        place[p] = panel_of(f, weight, min(number[p], panels - 1), width);
    }
    float c[PANELS][NT / 8][4] = {};
    Part parts[PARTS];
    Lines<uint32_t> lines[STEP][PANELS][2];

    auto bring = [&](uint32_t chunk) {
#pragma unroll
        for (int i = 0; i < PARTS; i++) {
            int item = threadIdx.x + i * WARPS * WARP;
            parts[i] = load_part(x, begin + item / STEP, count, chunk + item % STEP, chunks);
        }
#pragma unroll
        for (int s = 0; s < STEP; s++) {
#pragma unroll
            for (int p = 0; p < PANELS; p++) {
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    uint32_t at = min(chunk + s, chunks - 1);
                    lines[s][p][h] = load_lines<uint32_t>(f.code(), place[p].lines, at, t, 4 * (g + 8 * h));
                }
            }
        }
    };

    bring(0);
    for (uint32_t chunk = 0, turn = 0; chunk < chunks; chunk += STEP, turn ^= 1) {
        __half *tile = shared + turn * NT * STRIDE;
#pragma unroll
        for (int i = 0; i < PARTS; i++) {
            int item = threadIdx.x + i * WARPS * WARP;
            store_part(parts[i], tile + item / STEP * STRIDE + item % STEP * COLUMNS);
        }
        uint32_t a[STEP][PANELS][2][4];
#pragma unroll
        for (int s = 0; s < STEP; s++) {
            // Past the last column `x` is zero, and what the weight has there is anything finite.
            uint32_t at = min(chunk + s, chunks - 1);
#pragma unroll
            for (int p = 0; p < PANELS; p++) {
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    float scale[2][1], minimum[2][1] = {};
                    const uint8_t *side = place[p].sides + (at >> per_block) * side_bytes;
                    int part = at & ((1 << per_block) - 1);
                    Sides<1> sides = load_sides<1>(f.code(), f.how, side, part, g + 8 * h);
                    take_apart<1>(f.code(), f.how, sides, part, scale, minimum);
                    uint32_t low, high;
                    quads_of(f.code(), lines[s][p][h].a, lines[s][p][h].b, t, low, high);
                    uint2 first = values(f, low, scale[0][0], minimum[0][0]);
                    uint2 second = values(f, high, scale[1][0], minimum[1][0]);
                    a[s][p][0][h] = first.x, a[s][p][0][h + 2] = first.y;
                    a[s][p][1][h] = second.x, a[s][p][1][h + 2] = second.y;
                }
            }
        }
        __syncthreads();
        if (chunk + STEP < chunks) bring(chunk + STEP);
#pragma unroll
        for (int s = 0; s < STEP; s++) {
            if (s > 0 && chunk + s >= chunks) break;
#pragma unroll
            for (int half = 0; half < 2; half++) {
#pragma unroll
                for (int j = 0; j < NT / 8; j++) {
                    uint2 b = *(const uint2 *)(tile + (8 * j + g) * STRIDE + s * COLUMNS + half * 16 + 4 * t);
#pragma unroll
                    for (int p = 0; p < PANELS; p++) multiply(c[p][j], a[s][p][half], b);
                }
            }
        }
    }
#pragma unroll
    for (int p = 0; p < PANELS; p++) {
#pragma unroll
        for (int j = 0; j < NT / 8; j++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                uint32_t n = begin + 8 * j + 2 * t + i % 2, row = number[p] * ROWS + g + i / 2 * 8;
                if (n < count && row < rows) out[(size_t)n * rows + row] = c[p][j][i] * UP;
            }
        }
    }
}

#define ARGUMENTS                                                                                                      \
    const uint8_t *weight, const Rounded *x, float *out, uint32_t rows, uint32_t how, uint32_t width, uint32_t count   \

#define FORMAT(NAME, F)                                                                                                \
    KERNEL __launch_bounds__(128) matmul_panels_64_##NAME(ARGUMENTS) {                                                 \
        begin();                                                                                                       \
        tile<F, 64>(F{how}, weight, x, out, rows, width, count);                                     \
    }                                                                                                                  \
    KERNEL __launch_bounds__(128) matmul_panels_128_##NAME(ARGUMENTS) {                                                \
        begin();                                                                                                       \
        tile<F, 128>(F{how}, weight, x, out, rows, width, count);                                    \
    }

FORMAT(q4_0, Known<Q4_0>)
FORMAT(q8_0, Known<Q8_0>)
FORMAT(q4_k, Known<Q4_K>)
FORMAT(q5_k, Known<Q5_K>)
FORMAT(q6_k, Known<Q6_K>)
FORMAT(mxfp4, Known<MXFP4>)
FORMAT(affine_4, Known<AFFINE + 4>)
FORMAT(any, Any)
