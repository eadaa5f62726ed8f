// `softmax(x, width, scale)`: a block owns a row, which is read once for its largest element, once for the sum, and once to be
// written.

#include "../../tiles/cuda/walk.cuh"

// Products must not be fused with what follows: the largest element is a rounded product, and its power is one.
__device__ __forceinline__ float power(float x, float scale, float most) { return expf(__fmul_rn(x, scale) - most); }

KERNEL softmax(float *x, uint32_t width, float scale) {
    begin();
    __shared__ float room[WARP];
    x += (size_t)blockIdx.x * width;
    float most = -INFINITY;
    walk(x, width, [&](size_t, float column) { most = fmaxf(most, __fmul_rn(column, scale)); });
    most = warp_max(most);
    if (threadIdx.x % WARP == 0) room[threadIdx.x / WARP] = most;
    __syncthreads();
    for (uint32_t warp = 0; warp < blockDim.x / WARP; warp++) most = fmaxf(most, room[warp]);

    float sum = 0.0f;
    walk(x, width, [&](size_t, float column) { sum += power(column, scale, most); });
    sum = block_sum(sum, room);
    walk(x, width, [&](size_t i, float column) { x[i] = power(column, scale, most) / sum; });
}
