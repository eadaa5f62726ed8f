// `gate_CURVE(gate, up, elements)`: `up = curve(gate) * up`; and the clamped gate.

#include "../../tiles/cuda/curves.cuh"
#include "../../tiles/cuda/each.cuh"

#define GATE(curve) \
    KERNEL gate_##curve(const float *gate, float *up, uint32_t elements) { \
        begin();                                                           \
        each_beside(up, gate, elements, elements, [](float up, float gate) { return up * curve(gate); }); \
    }

GATE(silu)
GATE(gelu_tanh)
GATE(gelu_erf)
GATE(sigmoid)
GATE(softplus)

KERNEL gate_clamped(const float *gate, float *up, float alpha, float limit, uint32_t elements) {
    begin();
    each_beside(up, gate, elements, elements, [=](float up, float gate) {
        gate = gate > limit ? limit : gate;
        up = up > limit ? limit : up;
        up = up < -limit ? -limit : up;
        return silu(alpha * gate) / alpha * (up + 1.0f);
    });
}
