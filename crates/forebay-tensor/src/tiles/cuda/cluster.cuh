// Clusters: blocks that run at the same time and read each other's shared memory, on cards from 9.0 on.

#pragma once

#include "begin.cuh"

// The most blocks that every such card takes.
#define MOST_BLOCKS 8

#if __CUDA_ARCH__ >= 900

// The place of a block in its cluster.
__device__ __forceinline__ uint32_t cluster_rank() {
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// All threads of the cluster meet; what they wrote before is seen behind it.
__device__ __forceinline__ void cluster_meet() {
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}

// Where a block of the cluster has what this one has at `at`, in shared memory.
__device__ __forceinline__ uint32_t address_in(const void *at, uint32_t block) {
    uint32_t there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"((uint32_t)__cvta_generic_to_shared(at)), "r"(block));
    return there;
}

// What a block of the cluster has there.
__device__ __forceinline__ float read_of_block(const float *at, uint32_t block) {
    float x;
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(x) : "r"(address_in(at, block)));
    return x;
}

__device__ __forceinline__ float4 read_of_block(const float4 *at, uint32_t block) {
    float4 x;
    asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
                 : "r"(address_in(at, block)));
    return x;
}

#endif
