// What all kernels begin with: names of types, sums over warps and blocks, and elements of every plain type.

#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#define KERNEL extern "C" __global__ void
#define WARP 32

// Lets the next kernel of the stream start; it waits as this one does.
__device__ __forceinline__ void let_next_start() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Waits until all that was launched before is done and can be seen. What no kernel writes, such as a weight, may be read
// earlier; only that may be read by `__ldg`, whose lines could be older than what the kernel before wrote.
__device__ __forceinline__ void wait_for_others() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// What every kernel begins with, in every thread.
__device__ __forceinline__ void begin() {
    let_next_start();
    wait_for_others();
}

// The sum over a warp, in every lane. The order is fixed, and the same for all lanes.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int distance = WARP / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(~0u, x, distance);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int distance = WARP / 2; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, distance));
    return x;
}

// The sum over a block of whole warps, in every thread. `room` is shared memory of 32 floats; all threads must come here.
__device__ __forceinline__ float block_sum(float x, float *room) {
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) room[threadIdx.x / WARP] = x;
    __syncthreads();
    float sum = 0.0f;
    for (uint32_t warp = 0; warp < blockDim.x / WARP; warp++) sum += room[warp];
    return sum;
}

// What stands where there is no number.
__device__ __forceinline__ float not_a_number() { return __int_as_float(0x7fc00000); }
