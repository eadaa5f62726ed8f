// `matmul_panels_*(weight, x, out, rows, how, width, count)`: products of panels with a few rounded rows.
//
// A block owns a panel and up to `N` rows of `x`: of panels `blockIdx.x`, of rows `N * blockIdx.y` and on.

#include "../../tiles/cuda/products.cuh"

template <class F, int N>
__device__ __forceinline__ void rows_of(
    F f, const uint8_t *weight, const Rounded *x, float *out, uint32_t rows, uint32_t width, uint32_t count
) {
    __shared__ float room[WARPS][N][ROWS], sums[N][ROWS];
    const uint32_t chunks = width / COLUMNS, begin = N * blockIdx.y;
    const Rounded *x_rows[N];
#pragma unroll
    // In place of rows that are missing the last one is read; what comes of it is not written.
    for (int n = 0; n < N; n++) x_rows[n] = x + (size_t)min(begin + n, count - 1) * chunks;
    panel_product<F, N>(f, panel_of(f, weight, blockIdx.x, width), x_rows, chunks, room, sums);
    for (int i = threadIdx.x; i < N * ROWS; i += blockDim.x) {
        uint32_t n = begin + i / ROWS, row = blockIdx.x * ROWS + i % ROWS;
        if (n < count && row < rows) out[(size_t)n * rows + row] = sums[i / ROWS][i % ROWS];
    }
}

#define ARGUMENTS                                                                                                      \
    const uint8_t *weight, const Rounded *x, float *out, uint32_t rows, uint32_t how, uint32_t width, uint32_t count   \

#define FORMAT(NAME, F)                                                                                                \
    KERNEL __launch_bounds__(WARP *WARPS) matmul_panels_##NAME(ARGUMENTS) {                                            \
        let_next_start();                                                                                                       \
        rows_of<F, 1>(F{how}, weight, x, out, rows, width, count);                                   \
    }                                                                                                                  \
    KERNEL __launch_bounds__(WARP *WARPS) matmul_panels_few_##NAME(ARGUMENTS) {                                        \
        let_next_start();                                                                                                       \
        rows_of<F, 4>(F{how}, weight, x, out, rows, width, count);                                   \
    }

FORMAT(q4_0, Known<Q4_0>)
FORMAT(q8_0, Known<Q8_0>)
FORMAT(q4_k, Known<Q4_K>)
FORMAT(q5_k, Known<Q5_K>)
FORMAT(q6_k, Known<Q6_K>)
FORMAT(mxfp4, Known<MXFP4>)
FORMAT(affine_4, Known<AFFINE + 4>)
FORMAT(any, Any)
