// `l2_norm(x, width, epsilon)`: a block owns a row.

#include "../../tiles/cuda/begin.cuh"

KERNEL l2_norm(float *x, uint32_t width, float epsilon) {
    begin();
    __shared__ float room[WARP];
    x += (size_t)blockIdx.x * width;
    float squares = 0.0f;
    for (size_t i = threadIdx.x; i < width; i += blockDim.x) squares += x[i] * x[i];
    float scale = 1.0f / sqrtf(block_sum(squares, room) + epsilon);
    for (size_t i = threadIdx.x; i < width; i += blockDim.x) x[i] *= scale;
}
