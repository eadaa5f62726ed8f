// What blocks know of their rows that multiply matrices: which positions each row sees, and what became of it so far.
//
// A block owns `ROWS` rows, heads of one key-value head at some positions, and has `WARPS` warps; who includes this says how many. Next:
// `matrix.cu` and `warpgroups.cu`.

#pragma once

#include "../../tiles/cuda/matrix.cuh"
#include "sight.cuh"

#define LOG2_E 1.44269504f

struct Arguments {
    const float *q;
    const uint16_t *keys, *values;
    const uint32_t *positions;
    const float *sinks;
    float *out;
    uint32_t heads, groups;
    float scale, softcap;
    uint32_t after, length, count, width, value_width, capacity;
};

// What a range of rows sees: all of it lies in `some`, and all rows see `all`. Counted from where the block's range begins.
struct Span {
    uint32_t some_start, some_end, all_start, all_end;

    __device__ bool misses(uint32_t first, uint32_t keys) const { return first >= some_end || first + keys <= some_start; }
    __device__ bool cuts(uint32_t first, uint32_t keys) const { return first < all_start || first + keys > all_end; }
};

// What the threads of a block share beside tiles.
struct Room {
    uint32_t largest[WARP];
    uint64_t start[WARPS], end[WARPS];
    uint32_t row_start[ROWS], row_end[ROWS];
    // Keys of a tile with values that are not finite, by turns for this tile and the next.
    uint32_t spoiled[2][4];
};

// What each row sees, as `Room` has it, and the range of all of them.
__device__ Seen look(const Sight &sight, uint32_t first_row, uint32_t all, uint32_t own, Room &room) {
    uint32_t row = first_row + threadIdx.x, warp = threadIdx.x / WARP;
    bool there = threadIdx.x < ROWS && row < all;
    Seen seen = there ? sight.seen(row / own) : Seen{0, 0};
    bool sees = seen.start < seen.end;
    uint64_t start = sees ? seen.start : ~0ull, end = seen.end;
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        start = min(start, __shfl_xor_sync(~0u, start, distance));
        end = max(end, __shfl_xor_sync(~0u, end, distance));
    }
    if (threadIdx.x % WARP == 0) room.start[warp] = start, room.end[warp] = end;
    __syncthreads();
    Seen range = {~0ull, 0};
    for (int other = 0; other < WARPS; other++) {
        range = {min(range.start, room.start[other]), max(range.end, room.end[other])};
    }
    if (range.start >= range.end) range = {0, 0};
    if (threadIdx.x < ROWS) {
        // A row that sees nothing hides nothing either; its result is not used.
        room.row_start[threadIdx.x] = sees ? (uint32_t)(seen.start - range.start) : 0;
        room.row_end[threadIdx.x] = (uint32_t)((sees ? seen.end : range.end) - range.start);
    }
    __syncthreads();
    return range;
}

// The span of so many rows.
__device__ Span span_of(const Room &room, uint32_t first, uint32_t rows) {
    uint32_t lane = threadIdx.x % WARP;
    Span span = {~0u, 0, 0, ~0u};
    for (uint32_t row = first + lane; row < first + rows; row += WARP) {
        uint32_t start = room.row_start[row], end = room.row_end[row];
        span = {min(span.some_start, start), max(span.some_end, end), max(span.all_start, start), min(span.all_end, end)};
    }
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        span.some_start = min(span.some_start, __shfl_xor_sync(~0u, span.some_start, distance));
        span.some_end = max(span.some_end, __shfl_xor_sync(~0u, span.some_end, distance));
        span.all_start = max(span.all_start, __shfl_xor_sync(~0u, span.all_start, distance));
        span.all_end = min(span.all_end, __shfl_xor_sync(~0u, span.all_end, distance));
    }
    return span;
}

// The hyperbolic tangent of `x`, given `2 x / ln 2`. Its error is that of f32 next to one, also where the tangent is small.
__device__ __forceinline__ float bent(float x) { return 1.0f - __fdividef(2.0f, power_of_two(x) + 1.0f); }

// The softmax so far of a row, of which four lanes have a quarter each.
struct Row {
    float most, sum;
    uint32_t start, end;
};
