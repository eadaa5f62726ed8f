// `angles(positions, frequencies, sections, out, own, axes, magnitude, elements)`: `own` numbers are the cosines and sines of a
// position. A thread owns a pair of a position; there are `elements` of them. Without sections their address is zero.

#include "../../tiles/cuda/begin.cuh"

KERNEL angles(const uint32_t *positions, const float *frequencies, const uint32_t *sections, float *out,
              uint32_t own, uint32_t axes, float magnitude, uint32_t elements) {
    begin();
    size_t element = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (element >= elements) return;
    uint32_t pairs = own / 2, position = (uint32_t)element / pairs, pair = (uint32_t)element % pairs;
    uint32_t axis = sections ? sections[pair] : 0;
    float cosine = not_a_number(), sine = not_a_number();
    if (axis < axes) {
        // Far positions need more digits than f32 has, and so does a turn: it is taken away in two parts.
        double angle = (double)positions[(size_t)position * axes + axis] * frequencies[pair];
        double turns = rint(angle * 0.15915494309189535);
        double rest = fma(-turns, 2.4492935982947064e-16, fma(-turns, 6.283185307179586, angle));
        sincosf((float)rest, &sine, &cosine);
    }
    out += (size_t)position * own + pair;
    out[0] = magnitude * cosine;
    out[pairs] = magnitude * sine;
}
