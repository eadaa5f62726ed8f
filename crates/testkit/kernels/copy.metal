// `copy(from, to, n)`: copies the first n elements.

#include <metal_stdlib>
using namespace metal;

kernel void copy(device const uint *from [[buffer(0)]], device uint *to [[buffer(1)]], constant uint &n [[buffer(2)]],
                 uint i [[thread_position_in_grid]]) {
    if (i < n) to[i] = from[i];
}
