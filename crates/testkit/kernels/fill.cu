// `fill(out, value, n)`: sets the first n elements.

#include <stdint.h>

extern "C" __global__ void fill(uint32_t *out, uint32_t value, uint32_t n) {
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = value;
}
