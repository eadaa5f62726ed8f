// `gated_norm(x, weight, gate, width, epsilon)`: a block owns a row.

#include "../../tiles/cuda/curves.cuh"

KERNEL gated_norm(float *x, const float *weight, const float *gate, uint32_t width, float epsilon) {
    begin();
    __shared__ float room[WARP];
    x += (size_t)blockIdx.x * width;
    gate += (size_t)blockIdx.x * width;
    float squares = 0.0f;
    for (size_t i = threadIdx.x; i < width; i += blockDim.x) squares += x[i] * x[i];
    float scale = 1.0f / sqrtf(block_sum(squares, room) / width + epsilon);
    for (size_t i = threadIdx.x; i < width; i += blockDim.x) x[i] = x[i] * scale * weight[i] * silu(gate[i]);
}
