// `reduce_sum(from, sum, n)`: the sum of the first n elements, wrapping, in one group of any whole number of warps.

#include <stdint.h>

extern "C" __global__ void reduce_sum(const uint32_t *from, uint32_t *sum, uint32_t n) {
    __shared__ uint32_t parts[32];
    uint32_t own = 0;
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) own += from[i];
    for (int step = 16; step > 0; step /= 2) own += __shfl_down_sync(0xffffffff, own, step);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = own;
    __syncthreads();
    if (threadIdx.x == 0) {
        uint32_t all = 0;
        for (uint32_t warp = 0; warp < blockDim.x / 32; warp++) all += parts[warp];
        sum[0] = all;
    }
}
