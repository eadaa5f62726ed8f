// `rms_norm(x, weight, out, width, epsilon)`, and in place: a block owns a row. Without a weight its address is zero.

#include "../../tiles/cuda/walk.cuh"

__device__ void norm(const float *x, const float *weight, float *out, uint32_t width, float epsilon) {
    __shared__ float room[WARP];
    x += (size_t)blockIdx.x * width;
    out += (size_t)blockIdx.x * width;
    float squares = 0.0f;
    walk(x, width, [&](size_t, float column) { squares += column * column; });
    float scale = 1.0f / sqrtf(block_sum(squares, room) / width + epsilon);
    walk(x, width, [&](size_t i, float column) {
        out[i] = weight ? column * scale * weight[i] : column * scale;
    });
}

KERNEL rms_norm(const float *x, const float *weight, float *out, uint32_t width, float epsilon) {
    begin();
    norm(x, weight, out, width, epsilon);
}

KERNEL rms_norm_in_place(float *x, const float *weight, uint32_t width, float epsilon) {
    begin();
    norm(x, weight, x, width, epsilon);
}
