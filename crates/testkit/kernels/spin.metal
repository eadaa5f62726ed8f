// `spin(out, value, n, rounds)`: does something useless so many times, then sets the first n elements, in one group.
// The language has no clock, so whoever launches it has to know how many rounds a device does in a while.

#include <metal_stdlib>
using namespace metal;

kernel void spin(device uint *out [[buffer(0)]], constant uint &value [[buffer(1)]], constant uint &n [[buffer(2)]],
                 constant uint &rounds [[buffer(3)]], uint i [[thread_index_in_threadgroup]],
                 uint threads [[threads_per_threadgroup]]) {
    threadgroup uint left;
    if (i == 0) {
        uint x = value | 1;
        for (uint round = 0; round < rounds; round++) {
            for (int step = 0; step < 16; step++) {
                x ^= x << 13;
                x ^= x >> 17;
                x ^= x << 5;
            }
        }
        left = x;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // These steps never come to zero, which no compiler knows.
    uint nothing = left == 0 ? 1 : 0;
    for (uint k = i; k < n; k += threads) out[k] = value + nothing;
}
