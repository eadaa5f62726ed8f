// `gated_norm(x, weight, gate, width, epsilon)`: a block owns a row.

#include "../../tiles/cuda/curves.cuh"
#include "../../tiles/cuda/walk.cuh"

KERNEL gated_norm(float *x, const float *weight, const float *gate, uint32_t width, float epsilon) {
    begin();
    __shared__ float room[WARP];
    x += (size_t)blockIdx.x * width;
    gate += (size_t)blockIdx.x * width;
    float squares = 0.0f;
    walk(x, width, [&](size_t, float column) { squares += column * column; });
    float scale = 1.0f / sqrtf(block_sum(squares, room) / width + epsilon);
    walk(x, width, [&](size_t i, float column) { x[i] = column * scale * weight[i] * silu(gate[i]); });
}
