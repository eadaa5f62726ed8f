// `hold(word, rounds)`: waits until somebody sets the word, or for so many rounds. Each takes as long as 16 of `spin`.

#include <metal_stdlib>
using namespace metal;

kernel void hold(device const atomic_uint *word [[buffer(0)]], constant uint &rounds [[buffer(1)]],
                 device uint *out [[buffer(2)]], uint i [[thread_position_in_grid]]) {
    uint x = i + 1;
    for (uint round = 0; round < rounds && atomic_load_explicit(word, memory_order_relaxed) == 0; round++) {
        for (int step = 0; step < 256; step++) {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
        }
    }
    // These steps never come to zero, which no compiler knows.
    if (x == 0) out[0] = x;
}
