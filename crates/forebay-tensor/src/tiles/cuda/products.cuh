// Products of a panel with a few rounded rows: what `matmul` and `routed_matmul` do for each panel where rows are few.
//
// A block owns a panel of 16 rows; its warps take turns at stages of 256 columns, which each fetches into shared memory of its
// own, ahead of time; what is fetched of the weight does not wait for the kernel before. A lane has line `t` of 32 columns of four rows, so that 16 lanes read 256 bytes in a row, and each pair
// of words of `x` meets four rows of the weight.

#pragma once

#include "panels.cuh"
#include "rounded.cuh"

// Warps of a block, and stages that each fetches ahead; `panels.rs` reserves shared memory for so many.
#define WARPS 8
#define DEPTH 2
// Times 32 columns of a stage.
#define STAGE 8

// Has 16 bytes copied to shared memory.
__device__ __forceinline__ void fetch_16(void *to, const void *from) {
    uint32_t shared = (uint32_t)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(from) : "memory");
}

__device__ __forceinline__ void end_of_stage() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until all but the last `N` stages are there.
template <int N> __device__ __forceinline__ void wait_for_stage() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Sums of `N` rows of `x` with the 16 rows of a panel, in `sums[n][row]`, seen by all threads. `chunks` is how many times 32
// columns there are. Dynamic shared memory has room for the stages. Waits for other kernels before it reads `x`.
template <class F, int N>
__device__ __forceinline__ void panel_product(
    F f, PanelPlace panel, const Rounded *(&x)[N], uint32_t chunks, float (&room)[WARPS][N][ROWS], float (&sums)[N][ROWS]
) {
    extern __shared__ __align__(16) uint8_t stages_of_warps[];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int half = lane / 16, t = lane / 4 % 4, rows = lane % 4;
    const int code = f.code();
    const bool needs_sum = zero_of(code) != 0 || has_minimum(code);
    const int parts = parts_of(code, f.how), mask = (1 << parts) - 1;
    const uint32_t side_bytes = ROWS * side_bytes_of(code, f.how), line_bytes = 64 * bits_of(code);
    const uint32_t stage_sides = (STAGE >> parts) * side_bytes, stage_weight = stage_sides + STAGE * line_bytes;
    const uint32_t stage_bytes = stage_weight + N * STAGE * sizeof(Rounded);
    uint8_t *own = stages_of_warps + warp * DEPTH * stage_bytes;

    auto fetch_weight = [&](uint32_t stage, int slot) {
        uint32_t first = stage * STAGE;
        if (first >= chunks) return;
        uint32_t count = min(chunks - first, STAGE);
        uint8_t *to = own + slot * stage_bytes;
        const uint8_t *sides = panel.sides + (first >> parts) * side_bytes, *lines = panel.lines + first * line_bytes;
        for (uint32_t at = 16 * lane; at < (count >> parts) * side_bytes; at += 16 * WARP) fetch_16(to + at, sides + at);
#pragma unroll
        for (uint32_t i = 0; i < STAGE * line_bytes / (16 * WARP); i++) {
            uint32_t at = 16 * lane + i * 16 * WARP;
            if (at < count * line_bytes) fetch_16(to + stage_sides + at, lines + at);
        }
    };
    auto fetch_x = [&](uint32_t stage, int slot) {
        uint32_t first = stage * STAGE, block = first + lane / 4;
        uint8_t *to = own + slot * stage_bytes + stage_weight + 16 * lane;
#pragma unroll
        for (int n = 0; n < N; n++) {
            if (block < chunks) fetch_16(to + n * STAGE * sizeof(Rounded), (const uint8_t *)(x[n] + first) + 16 * lane);
        }
        end_of_stage();
    };

    float sum[N][4] = {};
#pragma unroll
    for (int slot = 0; slot < DEPTH; slot++) fetch_weight(warp + slot * WARPS, slot);
    wait_for_others();
#pragma unroll
    for (int slot = 0; slot < DEPTH; slot++) fetch_x(warp + slot * WARPS, slot);
    int slot = 0;
    for (uint32_t stage = warp; stage * STAGE < chunks; stage += WARPS) {
        wait_for_stage<DEPTH - 1>();
        __syncwarp();
        const uint8_t *sides = own + slot * stage_bytes, *lines = sides + stage_sides;
        const Rounded *blocks = (const Rounded *)(sides + stage_weight);
#pragma unroll
        for (int pair = 0; pair < STAGE / 2; pair++) {
            const int number = 2 * pair + half;
            const uint32_t chunk = stage * STAGE + number;
            if (chunk >= chunks) break;
            Sides<4> beside = load_sides<4>(code, f.how, sides + (number >> parts) * side_bytes, number & mask, 4 * rows);
            Lines<uint4> codes = load_lines<uint4>(code, lines, number, t, 16 * rows);
            float scale[2][4], minimum[2][4];
            take_apart<4>(code, f.how, beside, number & mask, scale, minimum);
            uint32_t low[4], high[4];
            quads_of(code, codes.a.x, codes.b.x, t, low[0], high[0]);
            quads_of(code, codes.a.y, codes.b.y, t, low[1], high[1]);
            quads_of(code, codes.a.z, codes.b.z, t, low[2], high[2]);
            quads_of(code, codes.a.w, codes.b.w, t, low[3], high[3]);
#pragma unroll
            for (int n = 0; n < N; n++) {
                const Rounded &block = blocks[n * STAGE + number];
                int first = block.codes[t], second = block.codes[t + 4];
                float d = block.d;
                // Where halves have no scales of their own, the second sum is that of both.
                int of_first = 0, of_second = 0;
                if (needs_sum) {
                    of_first = __dp4a(first, 0x01010101, 0);
                    of_second = __dp4a(second, 0x01010101, has_halves(code) ? 0 : of_first);
                }
#pragma unroll
                for (int r = 0; r < 4; r++) {
                    float both;
                    if (has_halves(code)) {
                        int product = dot_quad(code, low[r], first, -zero_of(code) * of_first);
                        int last = dot_quad(code, high[r], second, -zero_of(code) * of_second);
                        both = scale[0][r] * (float)product + scale[1][r] * (float)last;
                        if (has_minimum(code)) both += minimum[0][r] * (float)of_first + minimum[1][r] * (float)of_second;
                    } else {
                        int product = dot_quad(code, low[r], first, -zero_of(code) * of_second);
                        product = dot_quad(code, high[r], second, product);
                        both = scale[0][r] * (float)product;
                        if (has_minimum(code)) both += minimum[0][r] * (float)of_second;
                    }
                    sum[n][r] += d * both;
                }
            }
        }
        __syncwarp();
        fetch_weight(stage + DEPTH * WARPS, slot);
        fetch_x(stage + DEPTH * WARPS, slot);
        slot = slot + 1 == DEPTH ? 0 : slot + 1;
    }
#pragma unroll
    for (int n = 0; n < N; n++) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            float all = sum[n][r];
            all += __shfl_xor_sync(~0u, all, 4);
            all += __shfl_xor_sync(~0u, all, 8);
            all += __shfl_xor_sync(~0u, all, 16);
            if (lane < 4) room[warp][n][4 * rows + r] = all;
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < N * ROWS; i += blockDim.x) {
        float all = 0.0f;
        for (int w = 0; w < WARPS; w++) all += room[w][i / ROWS][i % ROWS];
        sums[i / ROWS][i % ROWS] = all;
    }
    __syncthreads();
}
