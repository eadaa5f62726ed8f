// `mul(x, y, elements, period)`: `x = x * y`, where `y` begins anew every `period` elements; `mul_rows(x, y, width, elements)`:
// the same with one number for each row.

#include "../../tiles/cuda/each.cuh"

KERNEL mul(float *x, const float *y, uint32_t elements, uint32_t period) {
    begin();
    each_beside(x, y, elements, period, [](float x, float y) { return x * y; });
}

KERNEL mul_rows(float *x, const float *y, uint32_t width, uint32_t elements) {
    begin();
    size_t first = own_four();
    if (first + 4 <= elements && width % 4 == 0 && is_wide(x)) {
        float4 four = *(const float4 *)(x + first);
        float factor = y[(uint32_t)first / width];
        *(float4 *)(x + first) = make_float4(four.x * factor, four.y * factor, four.z * factor, four.w * factor);
        return;
    }
    for (size_t i = first; i < min(first + 4, (size_t)elements); i++) x[i] *= y[(uint32_t)i / width];
}
