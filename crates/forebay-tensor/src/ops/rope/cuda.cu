// `rope_PAIRS(x, angles, own, turns, width, elements)`: `own` numbers are the heads of a position, `turns` those of its cosines
// and sines. A thread owns a pair of columns; there are `elements` of them.

#include "../../tiles/cuda/begin.cuh"

// Turns the pair of this thread, whose columns are `step * pair` and `apart` behind it.
__device__ __forceinline__ void turn(float *x, const float *angles, uint32_t own, uint32_t turns, uint32_t width,
                                     uint32_t elements, uint32_t step, uint32_t apart) {
    size_t element = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (element >= elements) return;
    uint32_t pairs = turns / 2, heads = own / width;
    uint32_t head = (uint32_t)element / pairs, pair = (uint32_t)element % pairs;
    angles += (size_t)(head / heads) * turns + pair;
    x += (size_t)head * width + (size_t)step * pair;
    float cosine = angles[0], sine = angles[pairs], a = x[0], b = x[apart];
    x[0] = a * cosine - b * sine;
    x[apart] = a * sine + b * cosine;
}

KERNEL rope_interleaved(float *x, const float *angles, uint32_t own, uint32_t turns, uint32_t width,
                        uint32_t elements) {
    begin();
    turn(x, angles, own, turns, width, elements, 2, 1);
}

KERNEL rope_half_split(float *x, const float *angles, uint32_t own, uint32_t turns, uint32_t width,
                       uint32_t elements) {
    begin();
    turn(x, angles, own, turns, width, elements, 1, turns / 2);
}
