// `routed_panels_*(weight, x, ids, bias, out, rows, width, experts, takers, how, count)`: products of the panels of chosen
// experts with rounded rows. A block owns a panel of the expert of a result: panel `blockIdx.x`, results from `blockIdx.y` on.

#include "../../tiles/cuda/products.cuh"

template <class F>
__device__ __forceinline__ void results_of(
    F f, const uint8_t *weight, const Rounded *x, const uint32_t *ids, const float *bias, float *out, uint32_t rows,
    uint32_t width, uint32_t experts, uint32_t takers, uint32_t count
) {
    __shared__ float room[WARPS][1][ROWS], sums[1][ROWS];
    const uint32_t chunks = width / COLUMNS, panels = (rows + ROWS - 1) / ROWS;
    const uint32_t row = blockIdx.x * ROWS + threadIdx.x;
    const bool writes = threadIdx.x < ROWS && row < rows;
    for (uint32_t result = blockIdx.y; result < count; result += gridDim.y) {
        const uint32_t expert = ids[result];
        float *to = out + (size_t)result * rows + row;
        if (expert >= experts) {
            if (writes) *to = not_a_number();
            continue;
        }
        const Rounded *rows_of_x[1] = {x + (size_t)(result / takers) * chunks};
        PanelPlace panel = panel_of(f, weight, expert * panels + blockIdx.x, width);
        panel_product<F, 1>(f, panel, rows_of_x, chunks, room, sums);
        if (writes) *to = sums[0][threadIdx.x] + (bias ? bias[(size_t)expert * rows + row] : 0.0f);
    }
}

#define FORMAT(NAME, F)                                                                                                \
    KERNEL __launch_bounds__(WARP *WARPS) routed_panels_##NAME(                                                        \
        const uint8_t *weight, const Rounded *x, const uint32_t *ids, const float *bias, float *out, uint32_t rows,    \
        uint32_t width, uint32_t experts, uint32_t takers, uint32_t how, uint32_t count                 \
    ) {                                                                                                                \
        begin();                                                                                                       \
        F f = F{how};                                                                                 \
        results_of<F>(f, weight, x, ids, bias, out, rows, width, experts, takers, count);                              \
    }

FORMAT(q4_0, Known<Q4_0>)
FORMAT(q8_0, Known<Q8_0>)
FORMAT(q4_k, Known<Q4_K>)
FORMAT(q5_k, Known<Q5_K>)
FORMAT(q6_k, Known<Q6_K>)
FORMAT(mxfp4, Known<MXFP4>)
FORMAT(affine_4, Known<AFFINE + 4>)
FORMAT(any, Any)
