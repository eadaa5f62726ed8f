// `add(a, b, out, n)`: sums of the first n elements, wrapping.

#include <metal_stdlib>
using namespace metal;

kernel void add(device const uint *a [[buffer(0)]], device const uint *b [[buffer(1)]], device uint *out [[buffer(2)]],
                constant uint &n [[buffer(3)]], uint i [[thread_position_in_grid]]) {
    if (i < n) out[i] = a[i] + b[i];
}
