// `matmul_image_*(weight, image, how, width, first, panels, apart)`, `matmul_image_of_x(x, image, width, count, in_turns)` and
// `matmul_image_of_floats(x, norm, image, width, epsilon, in_turns)`: images of panels, of rounded rows, and of rows as they are or
// scaled by a norm.
//
// A warp owns a panel and up to 256 columns: spans of columns first, then panels, those of the weight from `first` on. Bricks of
// 128 rows lie `apart` from each other, so that two weights can take turns. Of rounded rows a block owns up to 2048 columns of one,
// of others a row.

#include "../../tiles/cuda/each.cuh"
#include "../../tiles/cuda/images.cuh"
#include "../../tiles/cuda/rounded.cuh"

#define WARPS 8
// Times 32 columns of a warp, and of them those that are read at a time.
#define SPAN 8
#define AT_ONCE 4

template <class F>
__device__ __forceinline__ void image_of(
    F f, const uint8_t *weight, uint8_t *image, uint32_t width, uint32_t first, uint32_t panels,
    uint32_t apart
) {
    const int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const uint32_t chunks = width / COLUMNS, bricks = (width + BRICK_COLUMNS - 1) / BRICK_COLUMNS;
    const uint32_t spans = (2 * bricks + SPAN - 1) / SPAN, unit = blockIdx.x * WARPS + threadIdx.x / WARP;
    const uint32_t panel = unit / spans, begin = unit % spans * SPAN, end = min(begin + SPAN, 2 * bricks);
    if (panel >= panels) return;
    const PanelPlace place = panel_of(f, weight, first + panel, width);
    const int per_block = parts_of(f.code(), f.how);
    const uint32_t side_bytes = ROWS * side_bytes_of(f.code(), f.how);
    for (uint32_t chunk = begin; chunk < end; chunk += AT_ONCE) {
        Lines<uint32_t> lines[AT_ONCE][2];
        Sides<1> sides[AT_ONCE][2];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            const uint32_t at = min(chunk + i, chunks - 1);
            const uint8_t *side = place.sides + (at >> per_block) * side_bytes;
#pragma unroll
            for (int h = 0; h < 2; h++) {
                lines[i][h] = load_lines<uint32_t>(f.code(), place.lines, at, t, 4 * (g + 8 * h));
                sides[i][h] = load_sides<1>(f.code(), f.how, side, at & ((1 << per_block) - 1), g + 8 * h);
            }
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            if (chunk + i >= end) break;
            const bool is_there = chunk + i < chunks;
            const int part = min(chunk + i, chunks - 1) & ((1 << per_block) - 1);
#pragma unroll
            for (int h = 0; h < 2; h++) {
                float scale[2][1], minimum[2][1] = {};
                take_apart<1>(f.code(), f.how, sides[i][h], part, scale, minimum);
                uint32_t low, high;
                quads_of(f.code(), lines[i][h].a, lines[i][h].b, t, low, high);
                uint2 a = quad_in_halves(f, low, scale[0][0], minimum[0][0]), b = quad_in_halves(f, high, scale[1][0], minimum[1][0]);
                if (!is_there) a = b = make_uint2(0, 0);
                const uint32_t row = panel * ROWS + g + 8 * h, column = (chunk + i) * COLUMNS + 4 * t;
                *(uint2 *)(part_of(image, bricks * apart, row, column) + t % 2 * 8) = a;
                *(uint2 *)(part_of(image, bricks * apart, row, column + COLUMNS / 2) + t % 2 * 8) = b;
            }
        }
    }
}

#define FORMAT(NAME, F)                                                                                                \
    KERNEL __launch_bounds__(WARPS *WARP) matmul_image_##NAME(                                                         \
        const uint8_t *weight, uint8_t *image, uint32_t how, uint32_t width, uint32_t first, uint32_t panels,          \
        uint32_t apart                                                                                                 \
    ) {                                                                                                                \
        begin();                                                                                                       \
        image_of<F>(F{how}, weight, image, width, first, panels, apart);                                               \
    }

FORMAT(q4_0, Known<Q4_0>)
FORMAT(q8_0, Known<Q8_0>)
FORMAT(q4_k, Known<Q4_K>)
FORMAT(q5_k, Known<Q5_K>)
FORMAT(q6_k, Known<Q6_K>)
FORMAT(mxfp4, Known<MXFP4>)
FORMAT(affine_4, Known<AFFINE + 4>)
FORMAT(any, Any)

// A thread makes eight columns, of sixteen. Whoever multiplies by panels has four side by side in a lane, which take the places of two
// and, eight further, of two: then the eight are two of each four, in turns.
KERNEL matmul_image_of_x(const Rounded *x, uint8_t *image, uint32_t width, uint32_t count, uint32_t in_turns) {
    begin();
    const uint32_t chunks = width / COLUMNS, bricks = (width + BRICK_COLUMNS - 1) / BRICK_COLUMNS;
    const uint32_t parts = bricks * (BRICK_COLUMNS / 8), blocks = (parts + blockDim.x - 1) / blockDim.x;
    const uint32_t row = blockIdx.x / blocks, part = blockIdx.x % blocks * blockDim.x + threadIdx.x;
    if (row >= count || part >= parts) return;
    uint4 eight = make_uint4(0, 0, 0, 0);
    if (part / 4 < chunks) {
        const Rounded *block = x + (size_t)row * chunks + part / 4;
        int4 codes = *(const int4 *)(block->codes + part / 2 % 2 * 4);
        const float d = block->d * DOWN;
        const uint32_t second = part % 2;
        if (in_turns) {
            codes.x = codes.x >> 16 * second, codes.y = codes.y >> 16 * second;
            codes.z = codes.z >> 16 * second, codes.w = codes.w >> 16 * second;
        } else {
            if (second) codes.x = codes.z, codes.y = codes.w;
            codes.w = codes.y >> 16, codes.z = codes.y, codes.y = codes.x >> 16;
        }
        auto two = [&](int quad) { return two_halves((float)(int8_t)quad * d, (float)(int8_t)(quad >> 8) * d); };
        eight = make_uint4(two(codes.x), two(codes.y), two(codes.z), two(codes.w));
    }
    *(uint4 *)part_of(image, bricks, row, part * 8) = eight;
}

// `N` floats from `x` on; `wide` says whether they can be moved at once.
template <int N> __device__ __forceinline__ void floats_of(const float *x, bool wide, float (&to)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) {
        if (!wide) to[i] = x[i];
        else if (N == 2 && i % 2 == 0) *(float2 *)(to + i) = *(const float2 *)(x + i);
        else if (N == 4 && i % 4 == 0) *(float4 *)(to + i) = *(const float4 *)(x + i);
    }
}

KERNEL matmul_image_of_floats(const float *x, const float *norm, uint8_t *image, uint32_t width, float epsilon, uint32_t in_turns) {
    __shared__ float room[WARP];
    begin();
    const uint32_t row = blockIdx.x, bricks = (width + BRICK_COLUMNS - 1) / BRICK_COLUMNS;
    x += (size_t)row * width;
    const bool wide = is_wide(x) && is_wide(norm);
    float scale = DOWN;
    if (norm) {
        float squares = 0.0f;
#pragma unroll 4
        for (uint32_t first = threadIdx.x * 4; first < width; first += blockDim.x * 4) {
            float four[4];
            floats_of(x + first, wide, four);
            squares += four[0] * four[0] + four[1] * four[1] + (four[2] * four[2] + four[3] * four[3]);
        }
        scale = DOWN / sqrtf(block_sum(squares, room) / width + epsilon);
    }
#pragma unroll 2
    for (uint32_t part = threadIdx.x; part < bricks * (BRICK_COLUMNS / 8); part += blockDim.x) {
        // Two columns at a time: side by side, or each two of four in the order that whoever multiplies by panels has.
        const uint32_t first = in_turns ? part / 2 * 16 + part % 2 * 2 : part * 8, step = in_turns ? 4 : 2;
        uint32_t eight[4] = {};
        if (part * 8 < width) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const uint32_t at = first + i * step;
                float own[2], beside[2] = {1.0f, 1.0f};
                floats_of(x + at, wide, own);
                if (norm) floats_of(norm + at, wide, beside);
                eight[i] = two_halves(own[0] * scale * beside[0], own[1] * scale * beside[1]);
            }
        }
        *(uint4 *)part_of(image, bricks, row, part * 8) = make_uint4(eight[0], eight[1], eight[2], eight[3]);
    }
}
