// Ops in which every element stands for itself. A thread owns four that lie side by side, and a launch has a thread for every
// four; they are moved at once where their addresses allow that.

#pragma once

#include "begin.cuh"

// The first element of this thread; nothing of it is there where that is past the end.
__device__ __forceinline__ size_t own_four() { return ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * 4; }

// Whether four floats from here on can be moved at once.
__device__ __forceinline__ bool is_wide(const void *x) { return (uintptr_t)x % 16 == 0; }

// `x = of(x)`.
template <class F>
__device__ __forceinline__ void each(float *x, uint32_t elements, F of) {
    size_t first = own_four();
    if (first + 4 <= elements && is_wide(x)) {
        float4 four = *(const float4 *)(x + first);
        *(float4 *)(x + first) = make_float4(of(four.x), of(four.y), of(four.z), of(four.w));
        return;
    }
    for (size_t i = first; i < min(first + 4, (size_t)elements); i++) x[i] = of(x[i]);
}

// `x = of(x, y)`, where `y` begins anew every `period` elements.
template <class F>
__device__ __forceinline__ void each_beside(float *x, const float *y, uint32_t elements, uint32_t period, F of) {
    size_t first = own_four();
    if (first >= elements) return;
    uint32_t at = (uint32_t)first % period;
    if (first + 4 <= elements && period % 4 == 0 && is_wide(x) && is_wide(y)) {
        float4 four = *(const float4 *)(x + first), other = *(const float4 *)(y + at);
        *(float4 *)(x + first) =
            make_float4(of(four.x, other.x), of(four.y, other.y), of(four.z, other.z), of(four.w, other.w));
        return;
    }
    for (size_t i = first; i < min(first + 4, (size_t)elements); i++) {
        x[i] = of(x[i], y[at]);
        at = at + 1 == period ? 0 : at + 1;
    }
}
