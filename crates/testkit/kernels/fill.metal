// `fill(out, value, n)`: sets the first n elements.

#include <metal_stdlib>
using namespace metal;

kernel void fill(device uint *out [[buffer(0)]], constant uint &value [[buffer(1)]], constant uint &n [[buffer(2)]],
                 uint i [[thread_position_in_grid]]) {
    if (i < n) out[i] = value;
}
