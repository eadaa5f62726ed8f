// `activate_CURVE(x, elements)`: `x = curve(x)`.

#include "../../tiles/cuda/curves.cuh"
#include "../../tiles/cuda/each.cuh"

#define ACTIVATE(curve) \
    KERNEL activate_##curve(float *x, uint32_t elements) { \
        begin();                                           \
        each(x, elements, [](float x) { return curve(x); }); \
    }

ACTIVATE(silu)
ACTIVATE(gelu_tanh)
ACTIVATE(gelu_erf)
ACTIVATE(sigmoid)
ACTIVATE(softplus)
