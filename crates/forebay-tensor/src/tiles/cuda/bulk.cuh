// Copies of whole ranges from device memory to shared memory, by the engine that cards have for it from 9.0 on.
//
// Barriers count arrivals and bytes; a phase of one is over when all are there, and waits name a phase by its parity. Ranges and
// places are multiples of 16 bytes.

#pragma once

#include "begin.cuh"

#if __CUDA_ARCH__ >= 900

__device__ __forceinline__ uint32_t shared_address(const void *at) { return (uint32_t)__cvta_generic_to_shared(at); }

__device__ __forceinline__ void barrier_init(uint32_t barrier, uint32_t count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}

// What was done to barriers is seen by copies and by the other blocks of the cluster.
__device__ __forceinline__ void barriers_are_ready() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity) {
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@done bra gone;\n"
                 "bra again;\n"
                 "gone:\n"
                 "}" ::"r"(barrier), "r"(parity) : "memory");
}

// Whether this is the lane of its warp that does what one has to do; the compiler knows that it is one.
__device__ __forceinline__ bool is_elected() {
    uint32_t is;
    asm volatile("{\n"
                 ".reg .pred one;\n"
                 "elect.sync _|one, 0xffffffff;\n"
                 "selp.u32 %0, 1, 0, one;\n"
                 "}" : "=r"(is));
    return is;
}

// Arrives and says how many bytes will come.
__device__ __forceinline__ void barrier_expect(uint32_t barrier, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

// Copies bytes, which count at the barrier when they are there.
__device__ __forceinline__ void copy_in(uint32_t to, const void *from, uint32_t bytes, uint32_t barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier)
                 : "memory");
}

#endif
