// Copies from device memory to shared memory that a block does not wait for until it has to.
//
// Copies of a thread belong to groups; `await<N>` waits until at most so many of its groups are under way, and a barrier has to
// follow before other threads may read.

#pragma once

#include "begin.cuh"

#define PIECE 16

// Copies a piece, both ends of which are at multiples of its bytes; of a piece that is not there zeros come.
__device__ __forceinline__ void copy_piece(void *to, const void *from, bool there = true) {
    uint32_t address = (uint32_t)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(there ? PIECE : 0) : "memory");
}

__device__ __forceinline__ void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int N>
__device__ __forceinline__ void await() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// All threads of a block copy so many bytes, which are of pairs. They lie in shared memory as they do modulo a piece; what is read
// never leaves them.
__device__ __forceinline__ void copy_bytes(uint8_t *to, const uint8_t *from, uint32_t bytes) {
    uint32_t head = (uint32_t)((uintptr_t)from % PIECE), end = head + bytes;
    const uint8_t *base = from - head;
#pragma unroll 1
    for (uint32_t at = threadIdx.x * PIECE; at < end; at += blockDim.x * PIECE) {
        if (at >= head && at + PIECE <= end) {
            copy_piece(to + at, base + at);
        } else {
#pragma unroll 1
            for (uint32_t i = max(at, head); i < min(at + PIECE, end); i += 2) {
                *(uint16_t *)(to + i) = *(const uint16_t *)(base + i);
            }
        }
    }
}
