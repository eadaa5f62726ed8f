// Products of small matrices of halves by a warp, summed in f32, on every card since sm_80.
//
// A product is 16 x 8 with 16 between. With `g = lane / 4` and `t = lane % 4` a lane holds of the left one rows `g` and `g + 8` at
// columns `2 t`, `2 t + 1` and 8 further: four words, rows first; of the right one column `g` at rows `2 t`, `2 t + 1` and 8 further: two
// words; and of the sums rows `g` and `g + 8` at columns `2 t`, `2 t + 1`: four floats.

#pragma once

#include "begin.cuh"

// Four matrices of 8 x 8 halves out of shared memory. Lane `8 m + r` says where row `r` of matrix `m` is, at a multiple of 16 bytes; a
// lane gets of each matrix row `g` at columns `2 t` and `2 t + 1`.
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row))
                 : "memory");
}

// The same, of each matrix column `g` at rows `2 t` and `2 t + 1`.
__device__ __forceinline__ void load_matrices_turned(uint32_t (&to)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row))
                 : "memory");
}

// Two to the power of `x`, within two units in the 22nd bit; what is too small for a normal number is zero.
__device__ __forceinline__ float power_of_two(float x) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
}

// Each type has the bits that only infinities and what is no number have all of, `pack` for two numbers, the first low, and
// `multiply`, which adds a product to sums.
struct Half {
    static constexpr uint32_t ENDLESS = 0x7c00;

    static __device__ __forceinline__ uint32_t pack(float x, float y) {
        __half2 both = __floats2half2_rn(x, y);
        return *(uint32_t *)&both;
    }

    static __device__ __forceinline__ void multiply(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
};

struct Bfloat {
    static constexpr uint32_t ENDLESS = 0x7f80;

    static __device__ __forceinline__ uint32_t pack(float x, float y) {
        __nv_bfloat162 both = __floats2bfloat162_rn(x, y);
        return *(uint32_t *)&both;
    }

    static __device__ __forceinline__ void multiply(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
};
