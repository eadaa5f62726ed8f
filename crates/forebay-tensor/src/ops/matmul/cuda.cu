// `matmul_rows_*(weight, x, out, rows, how, width, count)`: products with rows of a weight as they lie.
//
// Blocks are counted by eights of rows of activations first, so that those that read the same rows of the weight run
// together. Tiles of many rows of activations are counted by the rows of activations first, for the same reason.

#include "../../tiles/cuda/tile.cuh"

// What a warp multiplies, or all warps of a block together: some rows of activations, and the rows of the weight from
// `row` on.
struct Own {
    Activations x;
    uint32_t first_of_x, row;

    __device__ Own(const float *all, uint32_t count, uint32_t width, uint32_t rows_at_once, bool together) {
        uint32_t eights = (count + TOGETHER - 1) / TOGETHER, block = blockIdx.x / eights;
        first_of_x = blockIdx.x % eights * TOGETHER;
        x = {all + (size_t)first_of_x * width, min(count - first_of_x, TOGETHER), width};
        row = (together ? block : block * WARPS + threadIdx.x / WARP) * rows_at_once;
    }
};

// Writes the sums over lanes, and over the warps of the block where they share the rows. Then all threads come here.
template <int SPLIT, int ROWS, int COUNT>
__device__ __forceinline__ void keep(float *out, const Own &own, uint32_t rows, float (&sums)[ROWS][COUNT]) {
    __shared__ float parts[SPLIT][ROWS][COUNT];
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
#pragma unroll
        for (int n = 0; n < COUNT; n++) {
            float sum = warp_sum(sums[row][n]);
            if (lane() != 0) continue;
            if (SPLIT > 1) {
                parts[threadIdx.x / WARP % SPLIT][row][n] = sum;
            } else if (n < own.x.count && own.row + row < rows) {
                out[(size_t)(own.first_of_x + n) * rows + own.row + row] = sum;
            }
        }
    }
    if (SPLIT == 1) return;
    __syncthreads();
    uint32_t row = threadIdx.x / COUNT, n = threadIdx.x % COUNT;
    if (row < ROWS && n < own.x.count && own.row + row < rows) {
        float sum = 0.0f;
        for (int part = 0; part < SPLIT; part++) sum += parts[part][row][n];
        out[(size_t)(own.first_of_x + n) * rows + own.row + row] = sum;
    }
}

template <int SPLIT, int COUNT, class T>
__device__ __forceinline__ void multiply_plain(const T *weight, float *out, uint32_t rows, const Own &own, bool whole) {
    const T *of_weight[PAIR];
#pragma unroll
    for (int row = 0; row < PAIR; row++) of_weight[row] = weight + (size_t)min(own.row + row, rows - 1) * own.x.width;
    float sums[PAIR][COUNT] = {};
    if (whole) {
        plain_products<true, SPLIT>(of_weight, own.x, sums);
    } else {
        plain_products<false, SPLIT>(of_weight, own.x, sums);
    }
    keep<SPLIT>(out, own, rows, sums);
}

// The same one row of activations after another, of weights that all warps share: these are small enough to stay at hand.
template <class T>
__device__ __forceinline__ void multiply_one_by_one(const T *weight, float *out, uint32_t rows, Own own, bool whole) {
    uint32_t count = own.x.count;
    own.x.count = 1;
#pragma unroll 1
    for (; count > 0; count--) {
        multiply_plain<WARPS, 1>(weight, out, rows, own, whole);
        own.x.rows += own.x.width;
        own.first_of_x++;
        __syncthreads();
    }
}

// More blocks than warps need for themselves are there to share rows.
__device__ __forceinline__ bool share_rows(uint32_t rows, uint32_t count) {
    return gridDim.x / ((count + TOGETHER - 1) / TOGETHER) > (rows + WARPS * PAIR - 1) / (WARPS * PAIR);
}

#define PLAIN(NAME, T) \
    extern "C" __global__ void __launch_bounds__(WARPS *WARP, 5) NAME( \
        const T *weight, const float *x, float *out, uint32_t rows, uint32_t how, uint32_t width, uint32_t count \
    ) { \
        begin(); \
        bool together = share_rows(rows, count); \
        Own own(x, count, width, PAIR, together); \
        if (own.row >= rows) return; \
        bool whole = is_whole(weight) && is_whole(x) && width % (16 / sizeof(T)) == 0; \
        if (together) { \
            multiply_one_by_one(weight, out, rows, own, whole); \
        } else if (own.x.count == 1) { \
            multiply_plain<1, 1>(weight, out, rows, own, whole); \
        } else { \
            multiply_plain<1, TOGETHER>(weight, out, rows, own, whole); \
        } \
    }
PLAIN(matmul_rows_f32, float)
PLAIN(matmul_rows_f16, __half)
PLAIN(matmul_rows_bf16, __nv_bfloat16)

extern "C" __global__ void __launch_bounds__(WARPS *WARP, 8) matmul_rows_blocks(
    const uint8_t *weight, const float *x, float *out, uint32_t rows, uint32_t how, uint32_t width, uint32_t count
) {
    begin();
    Own own(x, count, width, 1, false);
    if (own.row >= rows) return;
    Type type = type_of(how);
    float sums[1][TOGETHER] = {};
    block_products(type, weight + own.row * row_bytes(type, width), own.x, is_whole(x), sums);
    keep<1>(out, own, rows, sums);
}

template <int SIDE, class Weight>
__device__ __forceinline__ void multiply_tiles(
    const uint8_t *weight, const float *x, float *out, uint32_t rows, uint32_t how, uint32_t width, uint32_t count
) {
    extern __shared__ uint4 room[];
    uint32_t tiles_of_x = (count + SIDE - 1) / SIDE;
    uint32_t first_of_x = blockIdx.x % tiles_of_x * SIDE, first_row = blockIdx.x / tiles_of_x * SIDE;
    uint32_t own = min(count - first_of_x, SIDE);
    Tile tile = {type_of(how), weight, x, first_row, rows, width, nullptr, first_of_x, own, 1};
    Sums<SIDE> sums = {};
    multiply_tile<SIDE, Weight>(reinterpret_cast<Stage<SIDE> *>(room), tile, sums);
    keep_tile(out, nullptr, tile, sums);
}

#define TILES(NAME, SIDE, WEIGHT, BLOCKS) \
    extern "C" __global__ void __launch_bounds__(256, BLOCKS) NAME( \
        const uint8_t *weight, const float *x, float *out, uint32_t rows, uint32_t how, uint32_t width, uint32_t count \
    ) { \
        begin(); \
        multiply_tiles<SIDE, WEIGHT>(weight, x, out, rows, how, width, count); \
    }
TILES(matmul_rows_small_tiles_f32, 64, OfF32, 2)
TILES(matmul_rows_small_tiles_f16, 64, OfF16, 2)
TILES(matmul_rows_small_tiles_bf16, 64, OfBf16, 2)
TILES(matmul_rows_small_tiles_blocks, 64, OfBlocks, 2)
TILES(matmul_rows_large_tiles_f32, 128, OfF32, 1)
TILES(matmul_rows_large_tiles_f16, 128, OfF16, 1)
TILES(matmul_rows_large_tiles_bf16, 128, OfBf16, 2)
