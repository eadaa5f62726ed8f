// What forebay itself runs on a device: copies and fills, in words of 16 bytes where every side allows it, and the
// self-test. Grids are bounded, so threads go on to the next piece that is theirs.

#include <metal_stdlib>
using namespace metal;

kernel void copy_words(device const uint4 *from [[buffer(0)]], device uint4 *to [[buffer(1)]],
                       constant ulong &count [[buffer(2)]], uint i [[thread_position_in_grid]],
                       uint threads [[threads_per_grid]]) {
    for (ulong k = i; k < count; k += threads) to[k] = from[k];
}

kernel void copy_bytes(device const uchar *from [[buffer(0)]], device uchar *to [[buffer(1)]],
                       constant ulong &count [[buffer(2)]], uint i [[thread_position_in_grid]],
                       uint threads [[threads_per_grid]]) {
    for (ulong k = i; k < count; k += threads) to[k] = from[k];
}

kernel void fill_words(device uint4 *to [[buffer(0)]], constant uint &bytes [[buffer(1)]],
                       constant ulong &count [[buffer(2)]], uint i [[thread_position_in_grid]],
                       uint threads [[threads_per_grid]]) {
    for (ulong k = i; k < count; k += threads) to[k] = uint4(bytes);
}

kernel void fill_bytes(device uchar *to [[buffer(0)]], constant uint &bytes [[buffer(1)]],
                       constant ulong &count [[buffer(2)]], uint i [[thread_position_in_grid]],
                       uint threads [[threads_per_grid]]) {
    for (ulong k = i; k < count; k += threads) to[k] = uchar(bytes);
}

// One group of 64 threads. `sums`: what the threads of a simdgroup add up to, and what the thread at the other end left
// in shared memory. `rounding`: what is left of each value when a large one was added and taken away again, and whether
// it is a number; maths that is not safe would get both wrong.
kernel void probe(device const float *values [[buffer(0)]], device uint *sums [[buffer(1)]],
                  device float *rounding [[buffer(2)]], constant float &large [[buffer(3)]],
                  uint i [[thread_index_in_threadgroup]]) {
    threadgroup uint left[64];
    left[i] = i * i;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    sums[i] = 10000 * simd_sum(i) + left[63 - i];
    float value = values[i];
    rounding[i] = isnan(value) ? -1.0f : (value + large) - large;
}
