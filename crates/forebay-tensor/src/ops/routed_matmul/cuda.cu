// `routed_matmul_rows_*(weight, x, ids, bias, out, rows, width, experts, takers, how, results)`: results of experts whose weights
// lie in rows. A block makes a few elements of one result; results are counted first, so that those of one expert read
// its rows together. Without biases their address is zero. An expert that is not there gives what is not a number.

#include "../../tiles/cuda/tile.cuh"

// What a warp multiplies: the row of activations of a result, and the rows of its expert from `row` on.
struct Own {
    Activations x;
    uint32_t place, expert, row;

    __device__ Own(const float *all, const uint32_t *ids, uint32_t rows, uint32_t width, uint32_t takers, uint32_t rows_of_warp) {
        uint32_t places = gridDim.x / ((rows + WARPS * rows_of_warp - 1) / (WARPS * rows_of_warp));
        place = blockIdx.x % places;
        expert = ids[place];
        x = {all + (size_t)(place / takers) * width, 1, width};
        row = (blockIdx.x / places * WARPS + threadIdx.x / WARP) * rows_of_warp;
    }

    // The number of one of its rows among those of all experts.
    __device__ size_t of_all(uint32_t rows, uint32_t row) const { return (size_t)expert * rows + row; }
};

template <int ROWS>
__device__ __forceinline__ void keep(
    const float *bias, float *out, const Own &own, uint32_t rows, uint32_t experts, float (&sums)[ROWS][1]
) {
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        float sum = warp_sum(sums[i][0]);
        uint32_t row = own.row + i;
        if (lane() != 0 || row >= rows) continue;
        if (own.expert >= experts) {
            sum = not_a_number();
        } else if (bias) {
            sum += bias[own.of_all(rows, row)];
        }
        out[(size_t)own.place * rows + row] = sum;
    }
}

#define PLAIN(NAME, T) \
    extern "C" __global__ void __launch_bounds__(WARPS *WARP, 6) NAME( \
        const T *weight, const float *x, const uint32_t *ids, const float *bias, float *out, uint32_t rows, \
        uint32_t width, uint32_t experts, uint32_t takers, uint32_t how \
    ) { \
        begin(); \
        Own own(x, ids, rows, width, takers, PAIR); \
        if (own.row >= rows) return; \
        float sums[PAIR][1] = {}; \
        if (own.expert < experts) { \
            const T *of_weight[PAIR]; \
            for (int i = 0; i < PAIR; i++) { \
                of_weight[i] = weight + own.of_all(rows, min(own.row + i, rows - 1)) * width; \
            } \
            if (is_whole(weight) && is_whole(x) && width % (16 / sizeof(T)) == 0) { \
                plain_products<true, 1>(of_weight, own.x, sums); \
            } else { \
                plain_products<false, 1>(of_weight, own.x, sums); \
            } \
        } \
        keep(bias, out, own, rows, experts, sums); \
    }
PLAIN(routed_matmul_rows_f32, float)
PLAIN(routed_matmul_rows_f16, __half)
PLAIN(routed_matmul_rows_bf16, __nv_bfloat16)

extern "C" __global__ void __launch_bounds__(WARPS *WARP, 8) routed_matmul_rows_blocks(
    const uint8_t *weight, const float *x, const uint32_t *ids, const float *bias, float *out, uint32_t rows,
    uint32_t width, uint32_t experts, uint32_t takers, uint32_t how
) {
    begin();
    Own own(x, ids, rows, width, takers, 1);
    if (own.row >= rows) return;
    Type type = type_of(how);
    float sums[1][1] = {};
    if (own.expert < experts) {
        block_products(type, weight + own.of_all(rows, own.row) * row_bytes(type, width), own.x, is_whole(x), sums);
    }
    keep(bias, out, own, rows, experts, sums);
}

// The results of one expert that a block makes: of those that chose it, in their order, 64 at a time.
struct Chosen {
    uint32_t places[64], of_warp[8], count;

    // Looks for the `which`-th 64 places whose id is the expert's; an id past all experts is that of the one after the last.
    // How many were found is in `count`. All threads of the block come here.
    __device__ void find(const uint32_t *ids, uint32_t all, uint32_t expert, uint32_t experts, uint32_t which) {
        uint32_t first = 64 * which, before = 0, warp = threadIdx.x / WARP;
        for (uint32_t begin = 0; begin < all && before < first + 64; begin += blockDim.x) {
            uint32_t place = begin + threadIdx.x;
            bool is_own = place < all && min(ids[place], experts) == expert;
            uint32_t lanes = __ballot_sync(~0u, is_own);
            __syncthreads();
            if (lane() == 0) of_warp[warp] = __popc(lanes);
            __syncthreads();
            uint32_t rank = before + __popc(lanes & ((1u << lane()) - 1));
            for (uint32_t i = 0; i < blockDim.x / WARP; i++) {
                if (i < warp) rank += of_warp[i];
                before += of_warp[i];
            }
            if (is_own && rank >= first && rank < first + 64) places[rank - first] = place;
        }
        count = before <= first ? 0 : min(before - first, 64);
        __syncthreads();
    }
};

// Blocks are counted by rows of an expert, then by experts and one more for ids that are none, then by parts of the results.
template <class Weight>
__device__ __forceinline__ void multiply_chosen(
    const uint8_t *weight, const float *x, const uint32_t *ids, const float *bias, float *out, uint32_t rows,
    uint32_t width, uint32_t experts, uint32_t takers, uint32_t how, uint32_t all
) {
    extern __shared__ uint4 room[];
    __shared__ Chosen chosen;
    uint32_t tiles = (rows + 63) / 64, parts = gridDim.x / (tiles * (experts + 1));
    uint32_t first_row = blockIdx.x % tiles * 64, expert = blockIdx.x / tiles % (experts + 1);
    Type type = type_of(how);
    for (uint32_t which = blockIdx.x / (tiles * (experts + 1));; which += parts) {
        chosen.find(ids, all, expert, experts, which);
        uint32_t count = chosen.count;
        if (count == 0) return;
        Sums<64> sums = {};
        Tile tile = {type, weight, x, first_row, rows, width, chosen.places, 0, count, takers};
        if (expert == experts) {
#pragma unroll
            for (int i = 0; i < 16; i++) reinterpret_cast<float *>(sums.of)[i] = not_a_number();
            keep_tile(out, nullptr, tile, sums);
        } else {
            tile.weight += expert * (size_t)rows * row_bytes(type, width);
            multiply_tile<64, Weight>(reinterpret_cast<Stage<64> *>(room), tile, sums);
            keep_tile(out, bias ? bias + (size_t)expert * rows : nullptr, tile, sums);
        }
        __syncthreads();
    }
}

#define TILES(NAME, WEIGHT) \
    extern "C" __global__ void __launch_bounds__(256, 2) NAME( \
        const uint8_t *weight, const float *x, const uint32_t *ids, const float *bias, float *out, uint32_t rows, \
        uint32_t width, uint32_t experts, uint32_t takers, uint32_t how, uint32_t results \
    ) { \
        begin(); \
        multiply_chosen<WEIGHT>(weight, x, ids, bias, out, rows, width, experts, takers, how, results); \
    }
TILES(routed_matmul_rows_tiles_f32, OfF32)
TILES(routed_matmul_rows_tiles_f16, OfF16)
TILES(routed_matmul_rows_tiles_bf16, OfBf16)
TILES(routed_matmul_rows_tiles_blocks, OfBlocks)
