// `scale(x, factor, elements)`: `x = factor * x`.

#include "../../tiles/cuda/each.cuh"

KERNEL scale(float *x, float factor, uint32_t elements) {
    begin();
    each(x, elements, [=](float x) { return factor * x; });
}
