// `layer_norm(x, weight, bias, out, width, epsilon)`: a block owns a row. Without a weight or a bias its address is zero.

#include "../../tiles/cuda/walk.cuh"

KERNEL layer_norm(const float *x, const float *weight, const float *bias, float *out, uint32_t width, float epsilon) {
    begin();
    __shared__ float room[WARP];
    x += (size_t)blockIdx.x * width;
    out += (size_t)blockIdx.x * width;
    float sum = 0.0f;
    walk(x, width, [&](size_t, float column) { sum += column; });
    float mean = block_sum(sum, room) / width;
    // Squares of what is left keep the digits that a difference of squares would lose.
    float squares = 0.0f;
    walk(x, width, [&](size_t, float column) { squares += (column - mean) * (column - mean); });
    float scale = 1.0f / sqrtf(block_sum(squares, room) / width + epsilon);
    walk(x, width, [&](size_t i, float column) {
        column = (column - mean) * scale;
        if (weight) column *= weight[i];
        if (bias) column += bias[i];
        out[i] = column;
    });
}
