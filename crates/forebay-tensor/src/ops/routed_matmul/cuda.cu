// `routed_matmul_rows_*(weight, x, ids, bias, out, rows, width, experts, takers, how)`: results of experts whose weights
// lie in rows. A block makes a few elements of one result; results are counted first, so that those of one expert read
// its rows together. Without biases their address is zero. An expert that is not there gives what is not a number.

#include "../../tiles/cuda/rows.cuh"

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
        Own own(x, ids, rows, width, takers, PAIR); \
        if (own.row >= rows) return; \
        float sums[PAIR][1] = {}; \
        if (own.expert < experts) { \
            const T *of_weight[PAIR]; \
            for (int i = 0; i < PAIR; i++) { \
                of_weight[i] = weight + own.of_all(rows, min(own.row + i, rows - 1)) * width; \
            } \
            if (is_whole(weight) && is_whole(x) && width % (16 / sizeof(T)) == 0) { \
                plain_products<true>(of_weight, own.x, sums); \
            } else { \
                plain_products<false>(of_weight, own.x, sums); \
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
    Own own(x, ids, rows, width, takers, 1);
    if (own.row >= rows) return;
    Type type = type_of(how);
    float sums[1][1] = {};
    if (own.expert < experts) {
        block_products(type, weight + own.of_all(rows, own.row) * row_bytes(type, width), own.x, is_whole(x), sums);
    }
    keep(bias, out, own, rows, experts, sums);
}
