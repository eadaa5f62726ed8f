// Copies of whole ranges from device memory to shared memory, by the engine that cards have for it from 9.0 on.
//
// A word of shared memory counts the bytes that arrived; it turns from one phase to the next when all are there that were expected.
// Addresses of shared memory are numbers here.

#pragma once

#include "begin.cuh"

#if __CUDA_ARCH__ >= 900

__device__ __forceinline__ uint32_t address_of(const void *shared) { return (uint32_t)__cvta_generic_to_shared(shared); }

// Begins to count; `begun` has to follow before anybody expects bytes.
__device__ __forceinline__ void begin_arrivals(uint32_t word) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(word) : "memory");
}

__device__ __forceinline__ void begun() {
    asm volatile("fence.mbarrier_init.release.cluster; fence.proxy.async;" ::: "memory");
}

// Says how many bytes make the phase of a word complete.
__device__ __forceinline__ void expect(uint32_t word, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(word), "r"(bytes) : "memory");
}

// Copies bytes, a multiple of 16, between places that are multiples of 16.
__device__ __forceinline__ void bring(uint32_t to, const void *from, uint32_t bytes, uint32_t word) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
        ::"r"(to), "l"(from), "r"(bytes), "r"(word) : "memory");
}

// Waits until a phase, counted by its lowest bit, is complete.
__device__ __forceinline__ void await(uint32_t word, uint32_t phase) {
    asm volatile(
        "{ .reg .pred there; AGAIN%=: mbarrier.try_wait.parity.shared::cta.b64 there, [%0], %1; @!there bra AGAIN%=; }"
        ::"r"(word), "r"(phase) : "memory");
}

#endif
