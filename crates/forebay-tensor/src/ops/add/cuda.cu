// `add(x, y, elements, period)`: `x += y`, which begins anew every `period` elements. A thread owns four elements.

#include "../../tiles/cuda/begin.cuh"

KERNEL add(float *x, const float *y, uint32_t elements, uint32_t period) {
    begin();
    uint32_t first = (blockIdx.x * blockDim.x + threadIdx.x) * 4;
    for (uint32_t i = first; i < min(first + 4, elements); i++) x[i] += y[i % period];
}
