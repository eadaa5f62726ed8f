// `reduce_sum(from, sum, n)`: the sum of the first n elements, wrapping, in one group of any whole number of simdgroups.

#include <metal_stdlib>
using namespace metal;

kernel void reduce_sum(device const uint *from [[buffer(0)]], device uint *sum [[buffer(1)]],
                       constant uint &n [[buffer(2)]], uint i [[thread_index_in_threadgroup]],
                       uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
                       uint simdgroup [[simdgroup_index_in_threadgroup]],
                       uint simdgroups [[simdgroups_per_threadgroup]]) {
    threadgroup uint parts[32];
    uint own = 0;
    for (uint k = i; k < n; k += threads) own += from[k];
    own = simd_sum(own);
    if (lane == 0) parts[simdgroup] = own;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (i == 0) {
        uint all = 0;
        for (uint k = 0; k < simdgroups; k++) all += parts[k];
        sum[0] = all;
    }
}
