// `softcap(x, cap, elements)`: `x = cap * tanh(x / cap)`.

#include "../../tiles/cuda/each.cuh"

KERNEL softcap(float *x, float cap, uint32_t elements) {
    begin();
    each(x, elements, [=](float x) { return cap * tanhf(x / cap); });
}
