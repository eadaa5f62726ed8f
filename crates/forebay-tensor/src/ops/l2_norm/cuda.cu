// `l2_norm(x, width, epsilon)`: a block owns a row.

#include "../../tiles/cuda/walk.cuh"

KERNEL l2_norm(float *x, uint32_t width, float epsilon) {
    begin();
    __shared__ float room[WARP];
    x += (size_t)blockIdx.x * width;
    float squares = 0.0f;
    walk(x, width, [&](size_t, float column) { squares += column * column; });
    float scale = 1.0f / sqrtf(block_sum(squares, room) + epsilon);
    walk(x, width, [&](size_t i, float column) { x[i] = column * scale; });
}
