// `mix(x, weights, out, all, k, width, elements)`: `all` numbers are the experts of a row. A thread owns one of the `elements` of
// the output, and adds in the order of experts.

#include "../../tiles/cuda/begin.cuh"

KERNEL mix(const float *x, const float *weights, float *out, uint32_t all, uint32_t k, uint32_t width,
           uint32_t elements) {
    begin();
    size_t element = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (element >= elements) return;
    uint32_t row = (uint32_t)element / width, column = (uint32_t)element % width;
    x += (size_t)row * all + column;
    weights += (size_t)row * k;
    float sum = 0.0f;
#pragma unroll 4
    for (uint32_t j = 0; j < k; j++) sum += weights[j] * x[(size_t)j * width];
    out[element] = sum;
}
